package sdktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// patience is the timeout for a cancelled call: much longer than a busy machine needs, shorter than a plugin that ignores
// the cancellation takes.
const patience = 10 * time.Second

// takesUnknown gives every argument an unknown value: Check must accept it, Run must fail with diagnostics.
func takesUnknown(t *testing.T, p *client.Plugin, d contract.Description) {
	var b strings.Builder
	unknownBlock(&b, d.Config)
	c := config(t, b.String(), Options{Scope: map[string]cty.Value{"later": cty.UnknownVal(cty.DynamicPseudoType)}})
	diags, err := p.Check(t.Context(), c)
	if err != nil {
		t.Fatalf("check: %v", err)
	}
	lines := strings.Split(b.String(), "\n")
	for _, x := range diags {
		if n := x.Range.Start.Line; n > 0 && n <= len(lines) && strings.HasSuffix(lines[n-1], "= later") {
			t.Errorf("%v: reports an error for an unknown value", Diagnostics{x})
		}
	}
	if !d.Stage || !strings.Contains(b.String(), "= later") {
		return
	}
	f := (*Failure)(nil)
	if err := p.Run(t.Context(), contract.Job{Config: c}, func(contract.Message) {}); !errors.As(err, &f) || len(f.Diagnostics) == 0 {
		t.Errorf("Run with unknown values: %v, want a failure with diagnostics", err)
	}
}

func unknownBlock(w *strings.Builder, b contract.BlockSchema) {
	for _, a := range b.Attributes {
		fmt.Fprintf(w, "%s = later\n", a.Name)
	}
	for _, n := range b.Blocks {
		w.WriteString(n.Type)
		for _, l := range n.Labels {
			fmt.Fprintf(w, " %q", l)
		}
		w.WriteString(" {\n")
		unknownBlock(w, n.Block)
		w.WriteString("}\n")
	}
}

// odd are valid values of some type that people write by mistake.
var odd = []string{
	`null`, `""`, `" "`, `"\u0000ü😀"`, `"` + strings.Repeat("x", 1<<16) + `"`, `"/"`, `"../.."`, `"-1"`, `"0s"`, `"1e9h"`, `"9EiB"`, `"["`, `"*"`,
	`0`, `-1`, `0.5`, `1e300`, `-1e300`, `true`, `[]`, `[""]`, `["", null]`, `[[]]`, `{}`, `{ "" = "" }`, `{ a = 0 }`, `{ a = [] }`,
}

// takesOdd gives each argument of the valid body, in turn, unexpected values. Check may reject them with a position, but
// must not panic.
func takesOdd(t *testing.T, p *client.Plugin, b Binary) {
	file, diags := hclsyntax.ParseConfig([]byte(b.Valid), File, hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var bodies []string
	root := file.Body.(*hclsyntax.Body)
	eachAttribute(root, func(a *hclsyntax.Attribute) {
		for _, v := range odd {
			bodies = append(bodies, b.Valid[:a.Expr.Range().Start.Byte]+v+b.Valid[a.Expr.Range().End.Byte:])
		}
	})
	for _, a := range p.Description().Config.Attributes {
		if _, there := root.Attributes[a.Name]; !there {
			for _, v := range odd {
				bodies = append(bodies, b.Valid+"\n"+a.Name+" = "+v+"\n")
			}
		}
	}
	for _, n := range p.Description().Config.Blocks {
		for _, labels := range []string{"", ` ""`, ` "a"`, ` "a" "b"`} {
			bodies = append(bodies, b.Valid+"\n"+n.Type+labels+" {\n}\n")
		}
	}
	for _, text := range bodies {
		diags, err := p.Check(t.Context(), body(text))
		if err != nil {
			t.Fatalf("body %s\n%v", shorten(text), err)
		}
		for _, d := range diags {
			if d.Summary == "" || d.Detail == "" || d.Range.Start.Line < 1 {
				t.Errorf("body %s\n%+v has no summary, detail or position", shorten(text), d)
			}
		}
	}
}

func shorten(s string) string {
	if len(s) > 2000 {
		return s[:2000] + "…"
	}
	return s
}

func eachAttribute(b *hclsyntax.Body, do func(*hclsyntax.Attribute)) {
	for _, name := range slices.Sorted(maps.Keys(b.Attributes)) {
		do(b.Attributes[name])
	}
	for _, n := range b.Blocks {
		eachAttribute(n.Body, do)
	}
}

// takesHuge sends a body larger than gRPC's default limit.
func takesHuge(t *testing.T, p *client.Plugin, b Binary) {
	diags, err := p.Check(t.Context(), body("#"+strings.Repeat("x", 5<<20)+"\n"+b.Valid))
	if err != nil || len(diags) > 0 {
		t.Errorf("a valid body of 5 MiB: %v, %v", diags, err)
	}
}

// refusesAction omits required arguments of actions.
func refusesAction(t *testing.T, p *client.Plugin, d contract.Description) {
	for _, a := range d.Actions {
		i := slices.IndexFunc(a.Args, func(x sdk.Arg) bool { return x.Required })
		if i < 0 {
			continue
		}
		err := p.Call(t.Context(), contract.Job{Config: body("")}, a.Name, nil, func(contract.Message) {})
		if err == nil || !strings.Contains(err.Error(), a.Args[i].Name) {
			t.Errorf("action %s without its argument %s: %v", a.Name, a.Args[i].Name, err)
		}
	}
}

// job returns a job for Run with the given capabilities, which may be nil.
func (b Binary) job(t *testing.T, text string, core contract.Capabilities) contract.Job {
	t.Helper()
	return contract.Job{
		Config: body(text), Capabilities: core,
		Info: sdk.RunInfo{Pipeline: "test", Stage: "test.test", Workspace: b.Workspace, StateDir: t.TempDir()},
	}
}

// begin starts a run; end cancels it and checks that it ends in time.
func begin(t *testing.T, p *client.Plugin, j contract.Job) (ended chan error, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- p.Run(ctx, j, func(contract.Message) {}) }()
	return ended, func() {
		t.Helper()
		early := len(ended) > 0
		cancel()
		select {
		case err := <-ended:
			if err == nil && !early {
				t.Error("a cancelled run passed")
			}
		case <-time.After(patience):
			t.Fatalf("a cancelled run has not ended after %s", patience)
		}
	}
}

// alive checks that a plugin still works.
func alive(t *testing.T, p *client.Plugin, b Binary) {
	t.Helper()
	if _, err := p.Check(t.Context(), body(b.Valid)); err != nil {
		t.Errorf("it no longer answers: %v", err)
	}
}

func cancelled(t *testing.T, p *client.Plugin, b Binary) {
	_, end := begin(t, p, b.job(t, b.Valid, (&Fake{}).Capabilities()))
	time.Sleep(100 * time.Millisecond)
	end()
	alive(t, p, b)
}

// cancelledAlone cancels one of two concurrent runs; the other must continue.
func cancelledAlone(t *testing.T, p *client.Plugin, b Binary) {
	_, endOne := begin(t, p, b.job(t, b.Valid, (&Fake{}).Capabilities()))
	other, endOther := begin(t, p, b.job(t, b.Valid, (&Fake{}).Capabilities()))
	time.Sleep(100 * time.Millisecond)
	endOne()
	select {
	case err := <-other:
		if err != nil && strings.Contains(err.Error(), "cancel") {
			t.Errorf("the other run ended with %v", err)
		}
		other <- err
	case <-time.After(200 * time.Millisecond):
	}
	endOther()
	alive(t, p, b)
}

// denied runs without capabilities, and with capabilities that refuse everything: the run may fail, but not panic.
func denied(t *testing.T, p *client.Plugin, b Binary) {
	for _, core := range []contract.Capabilities{nil, refusing()} {
		ended, end := begin(t, p, b.job(t, b.Valid, core))
		select {
		case err := <-ended:
			if err != nil && strings.Contains(err.Error(), "panic") {
				t.Errorf("with all capabilities refused: %v", err)
			}
			ended <- err
		case <-time.After(500 * time.Millisecond):
		}
		end()
		alive(t, p, b)
	}
}

// passes runs alone, and twice concurrently with a slow listener.
func passes(t *testing.T, p *client.Plugin, b Binary) {
	run := func(pause time.Duration) error {
		return p.Run(t.Context(), b.job(t, b.Pass, (&Fake{}).Capabilities()), func(contract.Message) { time.Sleep(pause) })
	}
	if err := run(0); err != nil {
		t.Fatal(err)
	}
	other := make(chan error, 1)
	go func() { other <- run(10 * time.Millisecond) }()
	if err := errors.Join(run(10*time.Millisecond), <-other); err != nil {
		t.Errorf("two concurrent runs: %v", err)
	}
	alive(t, p, b)
}

// floods checks that no line of a large log is lost, with a fast and a slow listener.
func floods(t *testing.T, p *client.Plugin, b Binary) {
	lines := func(every int) (n int) {
		err := p.Run(t.Context(), b.job(t, b.Flood, (&Fake{}).Capabilities()), func(m contract.Message) {
			if m.Log == nil {
				return
			}
			if n++; n%every == 0 {
				time.Sleep(time.Millisecond)
			}
		})
		if err != nil {
			t.Error(err)
		}
		return n
	}
	fast, slow := lines(1<<30), lines(10)
	if fast < 10000 || slow != fast {
		t.Errorf("%d lines, but %d with a slow listener", fast, slow)
	}
	alive(t, p, b)
}

func panics(t *testing.T, p *client.Plugin, b Binary) {
	var f *Failure
	err := p.Run(t.Context(), b.job(t, b.Panic, nil), func(contract.Message) {})
	if err == nil || errors.As(err, &f) || !strings.Contains(err.Error(), "panic") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a run that panics: %v, want a one-line error that is not a verdict", err)
	}
	alive(t, p, b)
}

// refusing refuses every call.
func refusing() contract.Capabilities {
	return contract.Guard(nil, func(contract.Capability) error { return &contract.Error{Kind: contract.ErrRefused, Text: "refused"} })
}
