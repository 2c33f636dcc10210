package main

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		body  string
		scope map[string]cty.Value
		want  string
	}{
		"valid":    {body: `address = "localhost:80"`},
		"no port":  {body: "\n\n  address = \"localhost\"\n", want: `pipeline.hcl:3,3-24: Invalid wait stage; want host:port, got "localhost"`},
		"missing":  {body: ``, want: `pipeline.hcl:1,1-1: Missing argument; A wait stage needs the argument "address" (string).`},
		"misspelt": {body: `adr = "localhost:80"`, want: "pipeline.hcl:1,1-4: Unsupported argument; A wait stage has no argument \"adr\". It has address.\npipeline.hcl:1,1-1: Missing argument; A wait stage needs the argument \"address\" (string)."},
		"unknown":  {body: `address = var.a`, scope: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"a": cty.UnknownVal(cty.String)})}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := sdktest.Check(t, stage, test.body, sdktest.Options{Scope: test.scope}); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if r := sdktest.Run(t, stage, `address = "`+l.Addr().String()+`"`); r.Err != nil {
		t.Errorf("an address that answers: %v", r.Err)
	}

	_ = l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := sdktest.RunContext(ctx, t, stage, `address = "`+l.Addr().String()+`"`)
	if !errors.Is(r.Err, context.DeadlineExceeded) || len(r.Logs) == 0 {
		t.Errorf("an address that is dead: error %v, log %q; want a deadline and a line", r.Err, r.Logs)
	}
}

func TestConformance(t *testing.T) {
	b := sdktest.Binary{
		Valid:   `address = "127.0.0.1:1"`,
		Invalid: map[string]string{`address = "localhost"`: `pipeline.hcl:1,1-22: Invalid wait stage; want host:port, got "localhost"`},
		Cancel:  true,
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage, b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "wait"), b) })
}
