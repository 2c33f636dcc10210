package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/login"
	"github.com/seed-b96de936/troop/core/project"
)

// spoken is what a command of the troop program needs here, and takes.
type spoken struct {
	role    Role
	about   bool     // it is about an environment
	options []string // beside those of every command; none names a file of the server
	needs   string   // an option without which it is not taken
}

var (
	everyOption = []string{"json", "quiet", "verbose", "no-color"}
	commands    = map[string]spoken{
		"runs": {role: Viewer, options: []string{"branch", "limit"}},
		"show": {role: Viewer},
		"logs": {role: Viewer, options: []string{"follow"}},
		"why":  {role: Viewer},

		"hosts":       {role: Viewer, about: true},
		"events":      {role: Viewer, about: true, options: []string{"follow", "kind", "severity", "since"}},
		"plan":        {role: Viewer, about: true, options: []string{"saved"}, needs: "saved"},
		"alerts":      {role: Viewer, about: true},
		"alerts list": {role: Viewer, about: true},
		"flag list":   {role: Viewer, about: true, options: []string{"stale"}},
		"flag get":    {role: Viewer, about: true},
		"flag watch":  {role: Viewer, about: true},

		"alerts acknowledge": {role: Operator, about: true},
		"alerts silence":     {role: Operator, about: true, options: []string{"for", "reason"}},
		"alerts unsilence":   {role: Operator, about: true},
		"flag set":           {role: Operator, about: true, options: []string{"else", "ends", "owner", "percent", "reason", "release", "type", "when"}},
		"flag enable":        {role: Operator, about: true, options: []string{"reason", "release"}},
		"flag disable":       {role: Operator, about: true, options: []string{"reason", "release"}},
		"flag unset":         {role: Operator, about: true, options: []string{"reason"}},
		"approve":            {role: Approver, about: true, options: []string{"deny", "reason"}},
	}
)

// spoken returns what a command needs, be it troop's own or an action of a plugin.
func (v *served) spoken(ctx context.Context, words []string) (spoken, error) {
	if c, ok := commands[strings.Join(words, " ")]; ok {
		return c, nil
	}
	if len(words) == 2 {
		if a, err := v.action(ctx, words[0], words[1]); err == nil {
			c := spoken{role: a.Role(), about: true, options: []string{"stage"}}
			for _, x := range a.Args {
				if x.Flag {
					c.options = append(c.options, x.Name)
				}
			}
			return c, nil
		}
	}
	return spoken{}, userError("troop %s is not a command that a server carries out", strings.Join(words, " "))
}

// check refuses a command that its caller may not give, or that says more than it may. It fills in the environment.
func (v *served) check(ctx context.Context, c *login.Command, p *project.Project) (spoken, error) {
	need, err := v.spoken(ctx, c.Words)
	if err != nil {
		return need, err
	}
	if need.about {
		e, err := p.Environment(c.Environment)
		if err != nil {
			return need, &core.UsageError{Err: err}
		}
		c.Environment = e.Name
	}
	has := callerOf(ctx).anywhere(v.Name)
	if need.about {
		has = callerOf(ctx).in(v.Name, c.Environment)
	}
	if !has.atLeast(need.role) {
		return need, &statusError{http.StatusForbidden, fmt.Sprintf("this needs the role %s%s", need.role, in(v.Name, c.Environment))}
	}
	needed := need.needs == ""
	for _, o := range c.Options {
		name, _, _ := strings.Cut(strings.TrimPrefix(o, "--"), "=")
		if !strings.HasPrefix(o, "--") || !slices.Contains(everyOption, name) && !slices.Contains(need.options, name) {
			return need, userError("a server does not take %s of troop %s", o, strings.Join(c.Words, " "))
		}
		needed = needed || name == need.needs
	}
	if !needed {
		return need, userError("a server carries out troop %s with --%s only", strings.Join(c.Words, " "), need.needs)
	}
	return need, nil
}

// apiCommand carries a command out and streams what it says: events out and err with lines of its two outputs, and end with its
// exit status. One that changes something is an act, and goes on without its reader; one that only looks ends with it.
func (s *Server) apiCommand(w http.ResponseWriter, r *http.Request) error {
	ctx, v := r.Context(), s.of(r)
	c, err := body[login.Command](r)
	if err != nil {
		return err
	}
	p, err := v.read(ctx)
	if err != nil {
		return err
	}
	need, err := v.check(ctx, &c, p)
	if err != nil {
		return err
	}
	words := append(slices.Clone(c.Words), c.Options...)
	if need.role == Viewer {
		return s.lookFor(ctx, w, v, p, c, words)
	}
	a, err := s.do(ctx, v, c.Environment, reasonOf(c.Options), words, c.Arguments)
	if err != nil {
		return err
	}
	s.tellAct(ctx, openStream(w), a.Number)
	return nil
}

// tellAct streams what an act says, to its end or until the reader is gone.
func (s *Server) tellAct(ctx context.Context, out *stream, number uint64) {
	for said := 0; ; {
		a, _, err := s.actNow(number)
		if err != nil {
			return
		}
		for said = max(said, a.Dropped); said < a.Dropped+len(a.Output); said++ {
			if out.send("out", []byte(a.Output[said-a.Dropped])) != nil {
				return
			}
		}
		if !a.Ended.IsZero() {
			status := 0
			if a.Failed {
				status = 1
			}
			_ = out.send("end", []byte(strconv.Itoa(status))) // or the reader is gone
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(drawPause):
		}
	}
}

// reasonOf is the value of the option reason.
func reasonOf(options []string) string {
	for _, o := range options {
		if reason, ok := strings.CutPrefix(o, "--reason="); ok {
			return reason
		}
	}
	return ""
}

// lookFor carries out a command that changes nothing.
func (s *Server) lookFor(ctx context.Context, w http.ResponseWriter, v *served, p *project.Project, c login.Command, words []string) error {
	cmd := s.command(ctx, v, p, byServer(callerOf(ctx).Name), c.Environment, words, c.Arguments)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = streamTime
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	out := openStream(w)
	var mu sync.Mutex // of out
	var reading sync.WaitGroup
	for kind, from := range map[string]io.Reader{"out": stdout, "err": stderr} {
		reading.Go(func() {
			lines := bufio.NewReader(from)
			for {
				line, err := lines.ReadString('\n')
				if line != "" {
					mu.Lock()
					_ = out.send(kind, []byte(s.masked(strings.TrimSuffix(line, "\n")))) // who is gone ends the command
					mu.Unlock()
				}
				if err != nil {
					return
				}
			}
		})
	}
	reading.Wait()
	_ = cmd.Wait() // its status says it
	_ = out.send("end", []byte(strconv.Itoa(exitStatus(cmd))))
	return nil
}

// exitStatus is that of a command that has ended; 1 if a signal ended it.
func exitStatus(cmd *exec.Cmd) int {
	if n := cmd.ProcessState.ExitCode(); n >= 0 {
		return n
	}
	return 1
}
