package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

var dummy = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "troop-client-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "troop-plugin-dummy")
	out, err := exec.Command("go", "build", "-trimpath", "-o", path, "../sdktest/dummy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// The test binary is also a core that a test kills: it runs the plugin at a path with a body.
func TestMain(m *testing.M) {
	if path := os.Getenv("CLIENT_TEST_PLUGIN"); path != "" {
		p, err := client.Start(context.Background(), client.Options{Path: path})
		if err == nil {
			err = p.Run(context.Background(), job(os.Getenv("CLIENT_TEST_BODY")), func(contract.Message) {})
		}
		fmt.Fprintln(os.Stderr, err)
		return
	}
	m.Run()
	if path, err := dummy(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
}

func start(t *testing.T, o client.Options) (*client.Plugin, error) {
	t.Helper()
	path, err := dummy()
	if err != nil {
		t.Fatal(err)
	}
	if o.Path == "" {
		o.Path = path
	}
	p, err := client.Start(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func job(body string) contract.Job {
	return contract.Job{Config: contract.Config{Block: contract.Block{File: "p.hcl", Source: []byte(body), Start: contract.Pos{Line: 1, Column: 1}}}}
}

// messages collects the messages of a call.
type messages struct {
	logs    bytes.Buffer
	lines   int
	outputs map[string]any
	all     []contract.Message
}

func (s *messages) emit(m contract.Message) {
	switch {
	case m.Log != nil:
		s.lines++
		if s.logs.Len() < 1<<20 {
			s.logs.WriteString(m.Log.Line + "\n")
		}
	case m.Output != nil:
		if s.outputs == nil {
			s.outputs = map[string]any{}
		}
		s.outputs[m.Output.Name] = m.Output.Value
	default:
		s.all = append(s.all, m)
	}
}

// Each fault fails its own call with a message that says what happened, and takes nothing else down.
func TestFaults(t *testing.T) {
	tests := map[string]struct {
		body string
		want string // in the error
		log  string
		dies bool
	}{
		"fail":     {body: `fail = "coverage 60 < 70"`, want: "coverage 60 < 70"},
		"skip":     {body: `skip = "nothing new"`, want: "nothing new"},
		"error":    {body: `error = "disk on fire"`, want: "disk on fire"},
		"panic":    {body: `panic = "boom"`, want: "plugin dummy panicked in Run: boom", log: "goroutine"},
		"crash":    {body: `crash = "kaboom"`, want: "plugin dummy died (exit status 2): panic: kaboom", dies: true},
		"exit":     {body: `exit = 3`, want: "plugin dummy died (exit status 3)", dies: true},
		"exit 0":   {body: `exit = 0`, want: "plugin dummy died (exit status 0)", dies: true},
		"kill":     {body: `kill = true`, want: "plugin dummy died (signal: killed)", dies: true},
		"print":    {body: `print = "hello"`, log: "hello\n"},
		"json":     {body: `noise = 4`, log: "yyyy\n"},
		"flag":     {body: `flag = "x"`, want: `capability "flags" is not declared`},
		"no core":  {body: `notify = "x"`, want: `capability "notify" is not offered to this call`},
		"exec":     {body: `exec = ["sh", "-c", "echo one; echo two >&2; exit 4"]`, want: "sh: exit status 4: ", log: "one"},
		"unknown":  {body: `fial = "x"`, want: "the configuration is not valid"},
		"long":     {body: `long = "1MiB"`, log: "… (983040 bytes more)\n"},
		"output":   {body: `output = { any = 1, other = 2 }`, want: `plugin dummy gave an output "other", which it does not declare (declared: any, n, huge)`},
		"NaN":      {body: `nothing = "NaN"`, want: `plugin dummy reported a metric "told" that is no number: NaN`},
		"infinity": {body: `nothing = "-Inf"`, want: `plugin dummy reported a metric "told" that is no number: -Inf`},
		"huge":     {body: `huge = "65MiB"`, want: "plugin dummy sent garbage: a message of more than 64 MiB"},
		"not utf8": {body: "exec = [\"printf\", \"\\\\377\\\\n\"]", log: "\uFFFD\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := start(t, client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var s messages
			err = p.Run(t.Context(), job(test.body), s.emit)
			if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) && test.want != "" {
				t.Errorf("error: %v\nwant: %s", err, test.want)
			}
			if strings.Contains(fmt.Sprint(err), "rpc error") {
				t.Errorf("gRPC shows: %v", err)
			}
			if !strings.Contains(s.logs.String(), test.log) {
				t.Errorf("log: %q, want %q", s.logs.String(), test.log)
			}
			err = p.Run(t.Context(), job(`log = ["again"]`), s.emit)
			if dead := err != nil; dead != test.dies {
				t.Errorf("a second run: %v", err)
			}
		})
	}
}

// A binary that does not behave at its start is ended, and the error names it and says what it did.
func TestStartFaults(t *testing.T) {
	text := filepath.Join(t.TempDir(), "troop-plugin-text")
	if err := os.WriteFile(text, []byte("not a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		how      string
		path     string
		patience time.Duration
		want     string
	}{
		"prints":    {how: "print hello world", want: `troop-plugin-dummy printed "hello world" where the handshake belongs`},
		"noise":     {how: "noise", want: `printed "xxxx`},
		"socket":    {how: "socket", want: "troop-plugin-dummy did not describe itself: lost the connection"},
		"newer":     {how: "version 99", want: "troop-plugin-dummy speaks protocol 99, and this troop protocol 1: update troop, or build the plugin with the SDK of this version"},
		"older":     {how: "version 0", want: "troop-plugin-dummy speaks protocol 0, and this troop protocol 1: build the plugin with the SDK of this version"},
		"net/rpc":   {how: "print 1|1|unix|/nonexistent/socket|netrpc|", want: `troop-plugin-dummy was not started: unsupported plugin protocol "netrpc"`},
		"garbage":   {how: "garbage", patience: 5 * time.Second, want: "troop-plugin-dummy did not describe itself: lost the connection"},
		"exits":     {how: "exit no licence", want: "ended without a handshake (exit status 3): is it a plugin?: no licence"},
		"panics":    {how: "panic at the disco", want: "ended without a handshake (exit status 2): is it a plugin?: panic: at the disco"},
		"hangs":     {how: "hang", patience: time.Second, want: "did not answer within 1s"},
		"no binary": {path: "/nonexistent/troop-plugin-x", want: "no such file"},
		"no plugin": {path: "/bin/true", want: "true ended without a handshake (exit status 0): is it a plugin?"},
		"a text":    {path: text, want: "is not a program for this machine"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := start(t, client.Options{Path: test.path, Env: []string{"DUMMY_START=" + test.how}, StartTimeout: test.patience})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error: %v\nwant one line with: %s", err, test.want)
			}
		})
	}
}

// go-plugin 1.8 panics on this line of standard error unless its logger is off.
func TestHostileLogLine(t *testing.T) {
	t.Parallel()
	p, err := start(t, client.Options{Env: []string{`DUMMY_START=log {"@message":1}`}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context(), job(""), func(contract.Message) {}); err != nil {
		t.Error(err)
	}
}

// A plugin whose SDK does not take the core's keys makes its own, by go-plugin's AutoMTLS.
func TestAutoMTLS(t *testing.T) {
	t.Parallel()
	p, err := start(t, client.Options{Env: []string{"DUMMY_START=foreign"}})
	if err != nil {
		t.Fatal(err)
	}
	j := job(`notify = "x"`)
	j.Capabilities = (&sdktest.Fake{}).Capabilities()
	if err := p.Run(t.Context(), j, func(contract.Message) {}); err != nil {
		t.Error(err)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	p, err := start(t, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var s messages
	err = p.Run(t.Context(), job(`
		log     = ["a", "b\nc"]
		output  = { n = 7 }
		metric  = 60.5
		finding = "bad"
		sleep   = "1ms"
	`), s.emit)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.logs.String(); got != "a\nb\nc\n" {
		t.Errorf("log %q", got)
	}
	if s.outputs["n"] != 7.0 {
		t.Errorf("outputs %v", s.outputs)
	}
	if len(s.all) != 3 || s.all[0].Metric.Value != 60.5 || *s.all[0].Metric.Limit != 70 || s.all[1].Finding.Line != 3 || s.all[2].Progress.Text != "half" {
		t.Errorf("messages %+v", s.all)
	}
	var tables []*sdk.Table
	err = p.Call(t.Context(), job(""), "echo", map[string]string{"text": "hi"}, func(m contract.Message) { tables = append(tables, m.Table) })
	if err != nil || len(tables) != 1 || fmt.Sprint(tables[0].Rows) != "[[hi 1]]" {
		t.Errorf("action: %v, %v", tables, err)
	}
	for args, want := range map[string]string{"": `argument "text" is missing`, "bad": `there is no argument "bad"`} {
		given := map[string]string{}
		if args != "" {
			given[args] = "x"
			given["text"] = "x"
		}
		if err := p.Call(t.Context(), job(""), "echo", given, s.emit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("action with %q: %v, want %s", args, err, want)
		}
	}
	if err := p.Call(t.Context(), job(""), "sing", nil, s.emit); !errors.Is(err, contract.ErrNotFound) || err.Error() != "action sing not found; plugin dummy has echo, wipe" {
		t.Errorf("unknown action: %v", err)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	p, err := start(t, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	emit := func(contract.Message) {}
	if f := (*contract.Failure)(nil); !errors.As(p.Run(t.Context(), job(`fail = "no"`), emit), &f) || f.Reason != "no" {
		t.Errorf("failure: %+v", f)
	}
	if s := (*contract.SkipError)(nil); !errors.As(p.Run(t.Context(), job(`skip = "why"`), emit), &s) || s.Reason != "why" {
		t.Errorf("skip: %+v", s)
	}
	var f *contract.Failure
	if !errors.As(p.Run(t.Context(), job("\n  invalid = \"log\"\n log = []"), emit), &f) || len(f.Diagnostics) != 1 || f.Diagnostics[0].Range.Start.Line != 3 {
		t.Errorf("invalid at run time: %+v", f)
	}
	if err := p.Run(t.Context(), job(`error = "x"`), emit); errors.As(err, &f) && f.Reason == "x" {
		t.Error("an error that is no verdict came back as one")
	}
}

// A cancelled call may wind up and speak; one that does not end is killed, and both are quick.
func TestCancel(t *testing.T) {
	for name, body := range map[string]string{
		"winds up": `sleep = "1h"`, "hangs": `hang = true`, "runs a command": `exec = ["sh", "-c", "trap '' TERM; sleep 3600"]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := start(t, client.Options{Grace: 1700 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("the operator pressed Ctrl-C")
			time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
			began := time.Now()
			var s messages
			err = p.Run(ctx, job(body), s.emit)
			if !errors.Is(err, why) {
				t.Errorf("error %v, want the cause", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("cancelling took %s", took)
			}
			if name == "winds up" && !strings.Contains(s.logs.String(), "winding up: the operator pressed Ctrl-C") {
				t.Errorf("log %q", s.logs.String())
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	p, err := start(t, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Run(ctx, job(`sleep = "1h"`), func(contract.Message) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// Nothing is lost or reordered when the listener is slow, and a fast plugin does not fill the core's memory.
func TestFloodAndSlowListener(t *testing.T) {
	t.Parallel()
	p, err := start(t, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	err = p.Run(t.Context(), job(`flood = 20000`), func(m contract.Message) {
		if m.Log.Line != fmt.Sprintf("line %d", next) {
			t.Errorf("line %d is %q", next, m.Log.Line)
		}
		if next++; next%5000 == 0 {
			time.Sleep(50 * time.Millisecond)
		}
	})
	if err != nil || next != 20000 {
		t.Errorf("%d lines, %v", next, err)
	}
	var s messages
	if err := p.Run(t.Context(), job(`noise = "8MiB"`), s.emit); err != nil {
		t.Errorf("long lines on standard error: %v", err)
	}
	if s.logs.Len() > 2*(64<<10) {
		t.Errorf("a line of 8 MiB became %d bytes", s.logs.Len())
	}
}

// Two calls of one plugin, and two plugins, run at the same time; one that dies leaves the other alone.
func TestParallel(t *testing.T) {
	t.Parallel()
	a, err := start(t, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := start(t, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	began := time.Now()
	for _, p := range []*client.Plugin{a, a, b, b} {
		wg.Go(func() {
			if err := p.Run(t.Context(), job(`sleep = "500ms"`), func(contract.Message) {}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 1900*time.Millisecond {
		t.Errorf("four sleeps of 500 ms took %s", took)
	}
	wg.Go(func() {
		if err := a.Run(t.Context(), job(`exit = 1`), func(contract.Message) {}); err == nil {
			t.Error("a plugin exited and its call passed")
		}
	})
	wg.Go(func() {
		if err := b.Run(t.Context(), job(`sleep = "300ms"`), func(contract.Message) {}); err != nil {
			t.Errorf("the other plugin: %v", err)
		}
	})
	wg.Wait()
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	p, err := start(t, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fake := &sdktest.Fake{}
	j := job(`notify = "told.to"`)
	j.Capabilities = fake.Capabilities()
	if err := p.Run(t.Context(), j, func(contract.Message) {}); err != nil {
		t.Fatal(err)
	}
	if e := fake.Published(); len(e) != 1 || e[0].Kind != "told.to" {
		t.Errorf("published %+v", e)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("TROOP_TEST_SECRET", "hunter2")
	t.Setenv("LANG", "C.UTF-8")
	p, err := start(t, client.Options{Env: []string{"NAMED=yes"}})
	if err != nil {
		t.Fatal(err)
	}
	var s messages
	if err := p.Run(t.Context(), job(`exec = ["env"]`), s.emit); err != nil {
		t.Fatal(err)
	}
	for want, present := range map[string]bool{"TROOP_TEST_SECRET": false, "NAMED=yes": true, "LANG=C.UTF-8": true, "PATH=": true} {
		if strings.Contains(s.logs.String(), want) != present {
			t.Errorf("%s in the environment: want %v:\n%s", want, present, s.logs.String())
		}
	}
}

// What a plugin leaves running ends with it, whether it is closed or dies.
func TestDaemonsEndWithPlugin(t *testing.T) {
	for i, death := range []string{"", "kill = true", "exit = 0"} {
		t.Run("death "+death, func(t *testing.T) {
			t.Parallel()
			p, err := start(t, client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			marker := fmt.Sprintf("%d.%d", 50000+i, os.Getpid())
			err = p.Run(t.Context(), job(fmt.Sprintf("daemon = %q\n%s", marker, death)), func(contract.Message) {})
			if (err != nil) != (death != "") {
				t.Fatal(err)
			}
			_ = p.Close()
			eventually(t, 3*time.Second, "the daemon ends", func() bool { return !running("^sleep " + marker) })
		})
	}
}

func running(pattern string) bool { return exec.Command("pgrep", "-f", pattern).Run() == nil }

func eventually(t *testing.T, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// A core that is killed leaves neither plugin nor daemon nor socket behind, even when the plugin hangs.
func TestKilledCore(t *testing.T) {
	t.Parallel()
	path, err := dummy()
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "troop-plugin-dummy") // a path that only this test's plugin has
	if err := os.Link(path, own); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp("", "core") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	marker := fmt.Sprintf("50009.%d", os.Getpid())
	core := exec.Command("/proc/self/exe")
	core.Env = append(os.Environ(), "CLIENT_TEST_PLUGIN="+own, "CLIENT_TEST_BODY=hang = true\ndaemon = \""+marker+"\"", "TMPDIR="+tmp)
	if err := core.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = core.Process.Kill(); _ = core.Wait() })
	eventually(t, 10*time.Second, "plugin and daemon", func() bool { return running(own) && running("^sleep "+marker) })
	if err := core.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "both end", func() bool { return !running(own) && !running("^sleep "+marker) })
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// failing is a core whose Notify fails.
type failing struct {
	contract.NoCapabilities
	err error
}

func (f failing) Notify(context.Context, contract.Event) error { return f.err }

// TestErrorKinds lets the core refuse what a plugin's process asks for. The plugin returns that error: it goes to the
// plugin and back to the core, over the real connection, and is still of its kind.
func TestErrorKinds(t *testing.T) {
	t.Parallel()
	p, err := start(t, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	missing := &contract.NotFoundError{What: "receiver", Name: "ops", Remedy: "there is dev"}
	for name, tt := range map[string]struct{ err, is error }{
		"not found":   {fmt.Errorf("look: %w", missing), contract.ErrNotFound},
		"refused":     {&contract.Error{Kind: contract.ErrRefused, Text: "not at night"}, contract.ErrRefused},
		"unavailable": {&contract.Error{Kind: contract.ErrUnavailable, Text: "redis is away"}, contract.ErrUnavailable},
		"cancelled":   {fmt.Errorf("interrupted: %w", context.Canceled), context.Canceled},
		"timed out":   {fmt.Errorf("slow: %w", context.DeadlineExceeded), context.DeadlineExceeded},
		"of no kind":  {errors.New("on fire"), nil},
	} {
		j := job(`notify = "a.b"`)
		j.Capabilities = failing{err: tt.err}
		err := p.Run(t.Context(), j, func(contract.Message) {})
		if err == nil || err.Error() != "notify: "+tt.err.Error() {
			t.Errorf("%s: %v", name, err)
		}
		for _, kind := range []error{contract.ErrNotFound, contract.ErrRefused, contract.ErrUnavailable, context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, kind) != errors.Is(tt.is, kind) {
				t.Errorf("%s: is of the kind %q: %v", name, kind, errors.Is(err, kind))
			}
		}
		if got, ok := errors.AsType[*contract.NotFoundError](err); ok != (name == "not found") || (ok && *got != *missing) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// What the plugin itself may not, and what it does not declare.
	j := job(`flag = "f"`)
	j.Capabilities = failing{}
	if err := p.Run(t.Context(), j, func(contract.Message) {}); !errors.Is(err, sdk.ErrRefused) {
		t.Errorf("an undeclared capability: %v", err)
	}
}
