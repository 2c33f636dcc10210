package sdktest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Binary is the input of Conformance for a plugin.
type Binary struct {
	Valid   string            // a body that Check accepts
	Invalid map[string]string // bodies that Check rejects, each with a part of the diagnostics
	// Cancel says that Run may be started with the valid body and cancelled at once, with a Fake or with capabilities
	// that refuse everything.
	Cancel bool
	// Workspace is the workspace of Run; empty: an empty folder.
	Workspace string

	// Bodies for Run; optional.
	Pass  string // passes within seconds
	Flood string // passes after at least 10,000 log lines
	Panic string // panics
}

// Build builds the main package in a folder, usually ".", as the plugin of a type, and returns the path of the binary,
// which does not contain the folder's name.
func Build(t testing.TB, dir, typ string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "troop-plugin-"+typ)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", path, ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build plugin %s: %v\n%s", typ, err, out)
	}
	return path
}

// Conformance tests a built plugin binary against what the core and users expect of every plugin.
func Conformance(t *testing.T, path string, b Binary) {
	t.Helper()
	open := func(t *testing.T) *client.Plugin {
		t.Helper()
		p, err := client.Start(t.Context(), client.Options{Path: path, Grace: 8 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	t.Run("started by hand", func(t *testing.T) { startedByHand(t, path) })
	t.Run("name", func(t *testing.T) {
		if want := "troop-plugin-" + open(t).Description().Name; filepath.Base(path) != want {
			t.Errorf("binary %s: want %s", filepath.Base(path), want)
		}
	})
	conform(t, open, b)
	t.Run("close", func(t *testing.T) {
		p := open(t)
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		if _, err := p.Check(t.Context(), body("")); err == nil {
			t.Error("the plugin answers after it was closed")
		}
	})
}

// ConformanceOf is Conformance for a stage in the test's own process, for debuggers and the race detector.
func ConformanceOf[C any](t *testing.T, stage sdk.Stage[C], b Binary) {
	t.Helper()
	conform(t, func(t *testing.T) *client.Plugin {
		t.Helper()
		return start(context.WithoutCancel(t.Context()), t, stage)
	}, b)
}

// conform runs the tests that do not depend on how the plugin runs.
func conform(t *testing.T, open func(*testing.T) *client.Plugin, b Binary) {
	t.Helper()
	if b.Workspace == "" {
		b.Workspace = t.TempDir()
	}
	p := open(t)
	d := p.Description()
	t.Run("description", func(t *testing.T) { described(t, open(t).Description(), d) })
	t.Run("documentation", func(t *testing.T) { documented(t, "stage "+d.Name, d.Config) })
	t.Run("check", func(t *testing.T) { checked(t, p, b) })
	t.Run("positions", func(t *testing.T) { placed(t, p, b) })
	t.Run("unknown values", func(t *testing.T) { takesUnknown(t, p, d) })
	t.Run("odd values", func(t *testing.T) { takesOdd(t, p, b) })
	t.Run("huge body", func(t *testing.T) { takesHuge(t, p, b) })
	t.Run("invalid run", func(t *testing.T) { refusesInvalid(t, p, d) })
	t.Run("invalid action", func(t *testing.T) { refusesAction(t, p, d) })
	if b.Cancel {
		t.Run("cancel", func(t *testing.T) { cancelled(t, open(t), b) })
		t.Run("cancel one of two", func(t *testing.T) { cancelledAlone(t, open(t), b) })
		t.Run("capabilities denied", func(t *testing.T) { denied(t, open(t), b) })
	}
	if b.Pass != "" {
		t.Run("run", func(t *testing.T) { passes(t, p, b) })
	}
	if b.Flood != "" {
		t.Run("huge output", func(t *testing.T) { floods(t, p, b) })
	}
	if b.Panic != "" {
		t.Run("panic", func(t *testing.T) { panics(t, p, b) })
	}
}

func body(text string) contract.Config {
	return contract.Config{Name: "test", Block: contract.Block{File: File, Source: []byte(text), Start: contract.Pos{Line: 1, Column: 1}}}
}

func startedByHand(t *testing.T, path string) {
	cmd := exec.CommandContext(t.Context(), path)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.ExitCode() != 1 {
		t.Errorf("ended with %v, want status 1", err)
	}
	if stdout.Len() > 0 || !strings.Contains(stderr.String(), "is a plugin of troop") {
		t.Errorf("printed %q and %q, want one line on standard error that says what it is", &stdout, &stderr)
	}
}

var semantic = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

func described(t *testing.T, again, d contract.Description) {
	if !semantic.MatchString(d.Version) {
		t.Errorf("version %q is not semantic", d.Version)
	}
	if d.Summary == "" || strings.Contains(d.Summary, "\n") {
		t.Errorf("summary %q: want one line", d.Summary)
	}
	if !d.Stage && d.Agent == nil && len(d.Actions) == 0 {
		t.Error("it has no Run, no agent and no action")
	}
	for _, o := range d.Outputs {
		if o.Name == "" || o.Doc == "" {
			t.Errorf("output %q has no doc", o.Name)
		}
	}
	for _, a := range d.Actions {
		if a.Summary == "" {
			t.Errorf("action %s has no summary", a.Name)
		}
		for _, arg := range a.Args {
			if arg.Name == "" || arg.Doc == "" {
				t.Errorf("action %s: argument %q has no doc", a.Name, arg.Name)
			}
		}
	}
	for _, c := range d.AllCapabilities() {
		if !slices.Contains(contract.AllCapabilities(), c) {
			t.Errorf("capability %q does not exist", c)
		}
	}
	if !reflect.DeepEqual(again, d) {
		t.Error("it describes itself differently each time")
	}
}

func documented(t *testing.T, where string, b contract.BlockSchema) {
	for _, a := range b.Attributes {
		if a.Doc == "" {
			t.Errorf("%s: argument %s has no doc", where, a.Name)
		}
	}
	for _, n := range b.Blocks {
		if n.Doc == "" {
			t.Errorf("%s: block %s has no doc", where, n.Type)
		}
		documented(t, where+", block "+n.Type, n.Block)
	}
}

func checked(t *testing.T, p *client.Plugin, b Binary) {
	diags, err := p.Check(t.Context(), body(b.Valid))
	if err != nil || len(diags) > 0 {
		t.Errorf("the valid body is refused: %v, %v", diags, err)
	}
	for text, want := range b.Invalid {
		diags, err := p.Check(t.Context(), body(text))
		if err != nil || !strings.Contains(diags.Error(), want) {
			t.Errorf("body %q:\n%v, %v\nwant %s", text, diags, err, want)
		}
		for _, d := range diags {
			if d.Summary == "" || d.Detail == "" || d.Range.File != File || d.Range.Start.Line < 1 {
				t.Errorf("body %q: %+v has no summary, detail or position", text, d)
			}
		}
	}
}

// placed checks positions in a block that begins anywhere in a file, after multi-byte characters.
func placed(t *testing.T, p *client.Plugin, b Binary) {
	const mistake = "no_plugin_has_this"
	for before, column := range map[string]int{"\n  ": 3, "\n/* ü😀 */ ": 10, "/* ü😀 */ ": 29} {
		c := body(before + mistake + " = 1\n" + b.Valid)
		c.Block.Start = contract.Pos{Line: 7, Column: 20, Byte: 99}
		want := contract.Pos{Line: 7 + strings.Count(before, "\n"), Column: column, Byte: 99 + len(before)}
		diags, err := p.Check(t.Context(), c)
		if err != nil || !slices.ContainsFunc(diags, func(d contract.Diagnostic) bool { return d.Range.Start == want }) {
			t.Errorf("an unknown argument behind %q: %v, %v; want a diagnostic at %+v", before, diags, err, want)
		}
	}
}

func refusesInvalid(t *testing.T, p *client.Plugin, d contract.Description) {
	quiet := func(contract.Message) {}
	j := contract.Job{Config: body("no_plugin_has_this = 1")}
	if d.Stage {
		f := (*Failure)(nil)
		if err := p.Run(t.Context(), j, quiet); !errors.As(err, &f) || len(f.Diagnostics) == 0 {
			t.Errorf("Run of an invalid body: %v, want a failure with diagnostics", err)
		}
	}
	if err := p.Call(t.Context(), j, "no-plugin-has-this", nil, quiet); err == nil {
		t.Error("an action that does not exist can be called")
	}
}
