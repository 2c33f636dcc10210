package server

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/project"
)

// going is an act that goes on.
type going struct {
	mu   sync.Mutex
	act  Act
	done chan struct{} // closed when it has ended
}

// now is the act as it is.
func (g *going) now() Act {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.act
	a.Output = slices.Clone(a.Output)
	return a
}

const (
	// mostOutput is how many of an act's last lines are kept.
	mostOutput = 200
	// actAnswer is how long a request waits for the end of its act, before it is answered with a page that shows the rest.
	actAnswer = 2 * time.Second
)

// command is a command of the troop program about a pipeline, for somebody. words are its name and options, rest its arguments
// after the manifest, which may hold anything.
func (s *Server) command(ctx context.Context, v *served, p *project.Project, by, environment string, words, rest []string) *exec.Cmd {
	// Flags come first and then --, so that no argument is taken for a flag.
	args := slices.Concat(words, []string{"--local"}, s.o.arguments())
	if environment != "" {
		args = append(args, option("env", environment))
	}
	if v.options.State != "" {
		args = append(args, option("state", v.options.State))
	}
	cmd := exec.CommandContext(ctx, s.o.Program, append(append(args, "--", p.File), rest...)...)
	cmd.Dir, cmd.Env = p.Dir, actingFor(by)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// do carries an act out: a command, as command makes it, for the caller. It returns when the command has ended, or after
// actAnswer.
func (s *Server) do(ctx context.Context, v *served, environment, reason string, words, rest []string) (Act, error) {
	p, err := v.read(ctx)
	if err != nil {
		return Act{}, err
	}
	by := callerOf(ctx).Name
	a := Act{
		Time: time.Now(), By: by, From: from(ctx), Pipeline: v.Name, Place: environment, Reason: reason,
		What: strings.Join(append(slices.Clone(words), rest...), " "),
	}
	if a.Number, err = s.record(a); err != nil {
		return a, err
	}
	cmd := s.command(context.WithoutCancel(ctx), v, p, byServer(by), environment, words, rest) // it outlives the request, and this process
	g := &going{act: a, done: make(chan struct{})}
	out, in, err := os.Pipe()
	if err != nil {
		return a, err
	}
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	_ = in.Close() // the command has its own
	if err != nil {
		a.Ended, a.Failed, a.Output = time.Now(), true, []string{err.Error()}
		return a, errors.Join(err, out.Close(), s.amend(a))
	}
	s.goingMu.Lock()
	s.going[a.Number] = g
	s.goingMu.Unlock()
	go s.finish(g, cmd, out)
	select {
	case <-g.done:
	case <-time.After(actAnswer):
	case <-ctx.Done():
	}
	return g.now(), nil
}

// actingFor is the environment of a command for somebody, by whose name others see what it does. The server's own secrets
// are not in it: a build could read them.
func actingFor(name string) []string {
	env := slices.DeleteFunc(git.CleanEnv(os.Environ()), func(kv string) bool {
		return strings.HasPrefix(kv, webhookSecret) || strings.HasPrefix(kv, forgeToken) || strings.HasPrefix(kv, oidcSecret+"=") || strings.HasPrefix(kv, queueVariable+"=")
	})
	return append(env, "TROOP_USER="+name)
}

// byServer is how others see somebody who acts through the server.
func byServer(name string) string { return name + " (troop serve)" }

// finish reads what the command of an act says, to its end.
func (s *Server) finish(g *going, cmd *exec.Cmd, out io.ReadCloser) {
	defer func() { _ = out.Close() }()
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimRight(line, "\n"); line != "" || err == nil {
			g.mu.Lock()
			g.act.Output = append(g.act.Output, s.masked(line))
			more := max(0, len(g.act.Output)-mostOutput)
			g.act.Output, g.act.Dropped = g.act.Output[more:], g.act.Dropped+more
			g.mu.Unlock()
		}
		if err != nil {
			break
		}
	}
	failed := cmd.Wait() != nil
	g.mu.Lock()
	g.act.Ended, g.act.Failed = time.Now(), failed
	a := g.act
	g.mu.Unlock()
	if err := s.amend(a); err != nil {
		s.o.Note(fmt.Sprintf("act %d: %v", a.Number, err))
	}
	close(g.done)
	s.goingMu.Lock()
	delete(s.going, a.Number)
	s.goingMu.Unlock()
}

func (s *Server) masked(line string) string {
	if s.o.Project.Mask == nil {
		return line
	}
	return s.o.Project.Mask.String(line)
}

// actNow returns an act as it is: from the database, or while it goes on.
func (s *Server) actNow(n uint64) (Act, bool, error) {
	s.goingMu.Lock()
	g := s.going[n]
	s.goingMu.Unlock()
	if g != nil {
		return g.now(), true, nil
	}
	return s.act(n)
}

type fromKey struct{}

// from is the address that a request came from.
func from(ctx context.Context) string {
	text, _ := ctx.Value(fromKey{}).(string)
	return text
}

// option is an option with a value, as one word.
func option(name, value string) string { return "--" + name + "=" + value }

// reasoned is the options of an act with its reason, when there is one.
func reasoned(words []string, reason string) []string {
	if reason != "" {
		return append(words, option("reason", reason))
	}
	return words
}

// setFlag sets, switches or removes a feature flag.
func (s *Server) setFlag(ctx context.Context, v *served, environment string, f flagChange) (Act, error) {
	words := []string{"flag", f.Act}
	rest := []string{f.Name}
	switch f.Act {
	case "set":
		rest = append(rest, f.Value)
		if f.Percent != "" {
			words = append(words, option("percent", f.Percent))
		}
		if f.Type != "" {
			words = append(words, option("type", f.Type))
		}
	case "enable", "disable", "unset":
	default:
		return Act{}, userError("a flag can be set, enabled, disabled or unset, not %q", f.Act)
	}
	return s.do(ctx, v, environment, f.Reason, reasoned(words, f.Reason), rest)
}

// flagChange is a change of a feature flag.
type flagChange struct {
	Act     string `json:"act" jsonschema:"enum=set,enum=enable,enum=disable,enum=unset"`
	Name    string `json:"name"`
	Value   string `json:"value,omitempty"`
	Type    string `json:"type,omitempty" jsonschema:"enum=boolean,enum=string,enum=number,enum=object"`
	Percent string `json:"percent,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// alertChange is what somebody says of an alert.
type alertChange struct {
	Act    string `json:"act" jsonschema:"enum=acknowledge,enum=silence,enum=unsilence"`
	Match  string `json:"match"` // the key of the alert, or what a silence matches
	For    string `json:"for,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// tellAlert acknowledges an alert, or silences what matches.
func (s *Server) tellAlert(ctx context.Context, v *served, environment string, c alertChange) (Act, error) {
	words := []string{"alerts", c.Act}
	switch c.Act {
	case "silence":
		words = reasoned(append(words, option("for", cmp.Or(c.For, "1h"))), c.Reason)
	case "acknowledge", "unsilence":
	default:
		return Act{}, userError("an alert can be acknowledged, silenced or unsilenced, not %q", c.Act)
	}
	return s.do(ctx, v, environment, c.Reason, words, []string{c.Match})
}

// action is an action of a stage's plugin with the role that it needs.
type action struct {
	Type string
	core.Action
}

// Confirms reports whether the action only shows what it would do until it is told yes.
func (a action) Confirms() bool {
	return slices.ContainsFunc(a.Args, func(x core.Arg) bool { return x.Name == "yes" && x.Flag })
}

// Role is what a caller needs to call the action.
func (a action) Role() Role {
	if a.ReadOnly {
		return Viewer
	}
	return Operator
}

// actions lists what the plugins of a pipeline's stages offer.
func (v *served) actions(ctx context.Context) ([]action, error) {
	p, err := v.read(ctx)
	if err != nil {
		return nil, err
	}
	plugins := p.Plugins.Lazy()
	var list []action
	for _, typ := range stageTypes(p.Pipeline) {
		plugin, err := plugins.Open(ctx, typ)
		if err != nil {
			continue // a run says what is wrong with it
		}
		for _, a := range plugin.Description().Actions {
			list = append(list, action{typ, a})
		}
		if err := plugin.Close(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// action finds an action of a plugin.
func (v *served) action(ctx context.Context, typ, name string) (action, error) {
	list, err := v.actions(ctx)
	if err != nil {
		return action{}, err
	}
	i := slices.IndexFunc(list, func(a action) bool { return a.Type == typ && a.Name == name })
	if i < 0 {
		return action{}, &core.NotFoundError{What: "action", Name: typ + " " + name}
	}
	return list[i], nil
}

// lookAgain is how long what an action said is shown to others who ask.
const lookAgain = 4 * time.Second

// looked is what an action that changes nothing said.
type looked struct {
	at     time.Time
	text   string
	failed bool
}

// look calls an action that changes nothing, once for all who ask at about the same time. It is a process, too: the action's
// stage may need secrets, which the server does not know.
func (s *Server) look(ctx context.Context, v *served, env string, a action) (looked, error) {
	key := v.Name + "/" + env + "/" + a.Type + "/" + a.Name
	done := s.looks.DoChan(key, func() (any, error) { //nolint:contextcheck // others wait for it, too
		if l, ok := s.lately.Load(key); ok && time.Since(l.(looked).at) < lookAgain {
			return l, nil
		}
		short, cancel := context.WithTimeout(s.ctx, panelTime)
		defer cancel()
		p, err := v.read(short)
		if err != nil {
			return looked{}, err
		}
		out, err := s.command(short, v, p, "troop serve", env, []string{a.Type, a.Name}, nil).CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return looked{}, err
		}
		l := looked{time.Now(), s.masked(string(out)), err != nil}
		s.lately.Store(key, l)
		return l, nil
	})
	select {
	case <-ctx.Done():
		return looked{}, context.Cause(ctx)
	case r := <-done:
		return r.Val.(looked), r.Err
	}
}

// The methods of looked are for the templates.

// Text is what the action said.
func (l looked) Text() string { return l.text }

// Failed reports whether the action failed.
func (l looked) Failed() bool { return l.failed }

// call calls an action of a plugin with the arguments that were given.
func (s *Server) call(ctx context.Context, v *served, environment string, a action, args map[string]string, reason string) (Act, error) {
	if need := a.Role(); !callerOf(ctx).in(v.Name, environment).atLeast(need) {
		return Act{}, &statusError{http.StatusForbidden, fmt.Sprintf("this needs the role %s%s", need, in(v.Name, environment))}
	}
	words, rest := []string{a.Type, a.Name}, []string{}
	for _, x := range a.Args {
		value := args[x.Name]
		if x.Name == "yes" && x.Flag {
			value = cmp.Or(value, "false") // it only shows; nobody can be asked
		}
		switch {
		case value == "" && x.Required:
			return Act{}, userError("%s %s wants %s: %s", a.Type, a.Name, x.Name, x.Doc)
		case value == "":
		case x.Flag:
			words = append(words, option(x.Name, value))
		default:
			rest = append(rest, value)
		}
	}
	if stage := args["stage"]; stage != "" {
		words = append(words, option("stage", stage))
	}
	return s.do(ctx, v, environment, reason, words, rest)
}

// actNumber reads the number of an act in a path.
func actNumber(r *http.Request) (uint64, error) {
	n, err := strconv.ParseUint(r.PathValue("act"), 10, 64)
	if err != nil {
		return 0, &core.NotFoundError{What: "act", Name: r.PathValue("act")}
	}
	return n, nil
}
