// Package service runs the programs that a stage's command needs beside it, such as a database, for as long as the
// command runs. Each gets a free port of this machine. The build and the test plugin import it.
package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Config is a block service "NAME" of a manifest. In it, port is the service's own; elsewhere in the stage it is
// service.NAME.port.
type Config struct {
	Name    string            `hcl:"name,label"`
	Command []string          `hcl:"command" doc:"the program, as a list of words; port is a free port of 127.0.0.1, which is also in the environment variable PORT"`
	Ready   string            `hcl:"ready,optional" doc:"when the stage's commands may start: tcp(port), the default, once the port takes connections, or a URL such as \"http://127.0.0.1:${port}/health\", once it answers with a status below 400"`
	Timeout sdk.Duration      `hcl:"timeout,optional" default:"\"30s\"" doc:"how long it may take to get ready"`
	Dir     string            `hcl:"dir,optional" doc:"folder, relative to the source, where it runs"`
	Env     map[string]string `hcl:"env,optional" doc:"environment variables for it"`
}

const (
	attempts = 3 // with a port each: another program may take a port before the service does
	pause    = 50 * time.Millisecond
)

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// Check returns what is wrong with the services of a stage, as sdk.BadAttr does.
func Check(list []Config) error {
	var errs []error
	seen := map[string]bool{}
	for i, c := range list {
		at := func(name string) string { return fmt.Sprintf("service[%d].%s", i, name) }
		variable := Variable(c.Name)
		if !namePattern.MatchString(c.Name) || seen[variable] {
			errs = append(errs, sdk.BadAttr(at("command"), "%q is no name of its own: a letter, then letters, digits, - and _", c.Name))
		}
		seen[variable] = true
		if c.Command != nil && len(c.Command) == 0 {
			errs = append(errs, sdk.BadAttr(at("command"), "want a command, got an empty list"))
		}
		if c.Dir != "" && !filepath.IsLocal(c.Dir) {
			errs = append(errs, sdk.BadAttr(at("dir"), "want a folder inside the source, got %q", c.Dir))
		}
		ready, err := fill(c.Ready, map[string]int{"": 1})
		if u, parseErr := url.Parse(ready); err == nil && c.Ready != "" && (parseErr != nil || u.Host == "" || !slices.Contains([]string{"tcp", "http", "https"}, u.Scheme)) {
			errs = append(errs, sdk.BadAttr(at("ready"), `want tcp(port) or a URL such as "http://127.0.0.1:${port}/health", got %q`, ready))
		}
	}
	return errors.Join(errs...)
}

// Variable is the environment variable in which the commands of the stage find the port of a service.
func Variable(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_PORT"
}

// Group is the services of a stage while they run.
type Group struct {
	ports map[string]int
	stop  context.CancelFunc
	all   []*running
}

type running struct {
	name string
	done chan struct{}
	err  error // how it ended, once done is closed
}

// Start starts the services, one after the other in their order, and waits until each is ready. They end when ctx does,
// with Stop, and with this process. A service that does not get ready is a *sdk.Failure.
func Start(ctx context.Context, job *sdk.Job, list []Config) (*Group, error) {
	ctx, stop := context.WithCancel(ctx)
	g := &Group{ports: map[string]int{}, stop: stop}
	for _, c := range list {
		if err := g.start(ctx, job, c); err != nil {
			g.Stop()
			return nil, err
		}
	}
	return g, nil
}

func (g *Group) start(ctx context.Context, job *sdk.Job, c Config) error {
	for i := 1; ; i++ {
		port, err := freePort(ctx)
		if err != nil {
			return fmt.Errorf("find a port for service %s: %w", c.Name, err)
		}
		g.ports[c.Name] = port
		r, err := g.launch(ctx, job, c, port)
		if err != nil {
			return err
		}
		err = r.ready(ctx, c, port)
		if err == nil {
			job.Logf("service %s: ready on port %d", c.Name, port)
			g.all = append(g.all, r)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if i == attempts || !r.ended() || !taken(ctx, port) {
			return sdk.Failf("service %s: %v", c.Name, err)
		}
	}
}

// launch starts a service. Its lines go to the log of the stage.
func (g *Group) launch(ctx context.Context, job *sdk.Job, c Config, port int) (*running, error) {
	own := maps.Clone(g.ports)
	own[""] = port
	args, err := fillList(c.Command, own)
	if err != nil {
		return nil, err
	}
	env, err := environment(c.Env, own)
	if err != nil {
		return nil, err
	}
	job.Logf("service %s: $ %s", c.Name, strings.Join(args, " "))
	r := &running{name: c.Name, done: make(chan struct{})}
	command := sdk.Command{
		Args: args, Dir: filepath.Join(job.Info.Workspace, c.Dir), Env: append(env, "PORT="+strconv.Itoa(port)),
		Line: func(line string, _ bool) { job.Logf("%s | %s", c.Name, line) },
	}
	go func() {
		defer close(r.done)
		r.err = job.Exec(ctx, command)
	}()
	return r, nil
}

func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// how says how a service ended by itself.
func (r *running) how() string {
	if r.err == nil {
		return "it ended with exit status 0"
	}
	return "it ended: " + r.err.Error()
}

// ready waits until a service answers. A service that ends before is an error.
func (r *running) ready(ctx context.Context, c Config, port int) error {
	target, err := fill(c.Ready, map[string]int{"": port})
	if err != nil {
		return err
	}
	if target == "" {
		target = "tcp://127.0.0.1:" + strconv.Itoa(port)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout.Std())
	defer cancel()
	var last error // what it answered, rather than that time is up
	for {
		err := answers(ctx, target)
		if err == nil && !r.ended() {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-r.done:
			return errors.New(r.how() + ", before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("not ready after %s: %w", c.Timeout, last)
		case <-time.After(pause):
		}
	}
}

func answers(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if address, ok := strings.CutPrefix(target, "tcp://"); ok {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s answers %s", target, answer.Status)
	}
	return nil
}

// freePort finds a port that nothing listens on.
func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of a TCP listener
	return port, l.Close()
}

// taken reports whether something else listens on a port.
func taken(ctx context.Context, port int) bool {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err == nil {
		_ = l.Close()
	}
	return err != nil
}

// Env returns the ports as environment variables, NAME_PORT=….
func (g *Group) Env() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(g.ports)) {
		list = append(list, Variable(name)+"="+strconv.Itoa(g.ports[name]))
	}
	return list
}

// Command fills the ports into the words and the environment of a command.
func (g *Group) Command(args []string, env map[string]string) (filled, variables []string, err error) {
	if filled, err = fillList(args, g.ports); err != nil {
		return nil, nil, err
	}
	if variables, err = environment(env, g.ports); err != nil {
		return nil, nil, err
	}
	return filled, append(g.Env(), variables...), nil
}

// Ended says which service ended although nobody stopped it, and how; "" when none has.
func (g *Group) Ended() string {
	for _, r := range g.all {
		if r.ended() {
			return fmt.Sprintf("service %s: %s", r.name, r.how())
		}
	}
	return ""
}

// Explain adds to the verdict on a command that one of its services was gone.
func (g *Group) Explain(err error) error {
	failure := (*contract.Failure)(nil)
	if how := g.Ended(); how != "" && errors.As(err, &failure) {
		return sdk.Failf("%s; %s", failure.Reason, how)
	}
	return err
}

// Stop ends the services and returns when they have. It is safe to repeat.
func (g *Group) Stop() {
	g.stop()
	for _, r := range g.all {
		<-r.done
	}
}

func fill(text string, ports map[string]int) (string, error) {
	return contract.FillLate(text, contract.LatePort, func(names []string) (string, error) {
		port, ok := ports[names[0]]
		if !ok {
			return "", fmt.Errorf("the port of service %s is not known here: services start in their order", names[0])
		}
		return strconv.Itoa(port), nil
	})
}

func fillList(list []string, ports map[string]int) ([]string, error) {
	out := make([]string, len(list))
	for i, text := range list {
		filled, err := fill(text, ports)
		if err != nil {
			return nil, sdk.Failf("%v", err)
		}
		out[i] = filled
	}
	return out, nil
}

// environment lists variables as NAME=VALUE.
func environment(env map[string]string, ports map[string]int) ([]string, error) {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return fillList(list, ports)
}
