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
)

// Binary is what Conformance needs to know of a plugin beyond its binary.
type Binary struct {
	Valid   string            // a body that Check accepts
	Invalid map[string]string // bodies that Check refuses, each with a part of the diagnostics
	// Cancel says that Run may be started with the valid body, to be cancelled at once.
	Cancel bool
}

// Build builds the main package in a folder, usually ".", as the plugin of a type, and returns the binary.
func Build(t testing.TB, dir, typ string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "troop-plugin-"+typ)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build plugin %s: %v\n%s", typ, err, out)
	}
	return path
}

// Conformance holds a built plugin binary to what the core, and people, expect of every plugin.
func Conformance(t *testing.T, path string, b Binary) {
	t.Helper()
	p, err := client.Start(t.Context(), client.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	d := p.Description()

	t.Run("started by hand", func(t *testing.T) { startedByHand(t, path) })
	t.Run("description", func(t *testing.T) { described(t, path, d) })
	t.Run("documentation", func(t *testing.T) { documented(t, "stage "+d.Name, d.Config) })
	t.Run("check", func(t *testing.T) { checked(t, p, b) })
	t.Run("invalid run", func(t *testing.T) { refusesInvalid(t, p, d) })
	if b.Cancel {
		t.Run("cancel", func(t *testing.T) { cancelled(t, path, b) })
	}
	t.Run("close", func(t *testing.T) {
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		if _, err := p.Check(t.Context(), body("")); err == nil {
			t.Error("the plugin answers after it was closed")
		}
	})
}

func body(text string) client.Config {
	return client.Config{Name: "test", File: File, Source: []byte(text), Line: 1, Column: 1}
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

var capabilities = []sdk.Capability{
	sdk.Workspace, sdk.Inventory, sdk.Playbook, sdk.Agents, sdk.Artifacts, sdk.Flags, sdk.State, sdk.Events, sdk.Notify, sdk.Secrets,
}

func described(t *testing.T, path string, d client.Description) {
	if want := "troop-plugin-" + d.Name; filepath.Base(path) != want {
		t.Errorf("binary %s: want %s", filepath.Base(path), want)
	}
	if !semantic.MatchString(d.Version) {
		t.Errorf("version %q is not semantic", d.Version)
	}
	if d.Summary == "" || strings.Contains(d.Summary, "\n") {
		t.Errorf("summary %q: want one line", d.Summary)
	}
	if !d.Stage && d.Agent == nil && len(d.Actions) == 0 {
		t.Error("it has no face: no Run, no agent, no action")
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
	for _, c := range d.Capabilities {
		if !slices.Contains(capabilities, c) {
			t.Errorf("capability %q does not exist", c)
		}
	}
	again, err := client.Start(t.Context(), client.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	if !reflect.DeepEqual(again.Description(), d) {
		t.Error("it describes itself differently each time")
	}
}

func documented(t *testing.T, where string, b client.Block) {
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
		t.Errorf("the valid body is refused: %v, %v", Diagnostics(diags), err)
	}
	for text, want := range b.Invalid {
		diags, err := p.Check(t.Context(), body(text))
		if err != nil || !strings.Contains(Diagnostics(diags).Error(), want) {
			t.Errorf("body %q:\n%v, %v\nwant %s", text, Diagnostics(diags), err, want)
		}
		for _, d := range diags {
			if d.Summary == "" || d.Detail == "" || d.Range.File != File || d.Range.Start.Line < 1 {
				t.Errorf("body %q: %+v has no summary, detail or place", text, d)
			}
		}
	}
	diags, err = p.Check(t.Context(), body(b.Valid+"\n  no_plugin_has_this = 1\n"))
	found := slices.ContainsFunc(diags, func(d client.Diagnostic) bool {
		return d.Range.Start == client.Pos{Line: strings.Count(b.Valid, "\n") + 2, Column: 3, Byte: len(b.Valid) + 3}
	})
	if err != nil || !found {
		t.Errorf("an unknown argument: %v, %v; want a diagnostic at its place", Diagnostics(diags), err)
	}
}

func refusesInvalid(t *testing.T, p *client.Plugin, d client.Description) {
	quiet := func(client.Message) {}
	j := client.Job{Config: body("no_plugin_has_this = 1")}
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

func cancelled(t *testing.T, path string, b Binary) {
	p, err := client.Start(t.Context(), client.Options{Path: path, Grace: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	err = p.Run(ctx, client.Job{Config: body(b.Valid), Capabilities: (&Fake{}).Capabilities()}, func(client.Message) {})
	if took := time.Since(start); err == nil || took > 10*time.Second {
		t.Errorf("a cancelled run ended after %s with %v", took, err)
	}
	if _, err := p.Check(t.Context(), body(b.Valid)); err != nil {
		t.Errorf("it had to be killed to end a cancelled run: %v", err)
	}
}
