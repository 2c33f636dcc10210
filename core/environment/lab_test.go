//go:build lab

package environment_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/store"
)

const labPipeline = `
pipeline "shop" {
  source { path = "." }
}
environment "lab" {
  terraform {
    module    = "lab"
    variables = { hosts = { web-1 = { role = "production" } } }
  }
}
stage "hosts" "all" {}
`

const hostsPlugin = `// Command hosts says which hosts there are.
package main

import (
	"context"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

type config struct{}

func main() {
	sdk.Serve(sdk.Stage[config]{
		Name: "hosts", Version: "1.0.0", Summary: "say which hosts there are", Capabilities: []sdk.Capability{sdk.Inventory},
		Run: func(ctx context.Context, _ *config, job *sdk.Job) error {
			hosts, err := job.Hosts(ctx)
			for _, h := range hosts {
				job.Logf("%s is a host", h.Name)
			}
			return err
		},
	})
}
`

// TestProgramInTheLab is TestProgram with a host, which is removed at the end.
func TestProgramInTheLab(t *testing.T) {
	plugin := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(plugin, []byte(hostsPlugin), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := program(t, map[string]string{
		"troop-plugin-hosts": plugin, "terraform-provider-lab": "../../plugins/terraform-provider-lab", "troop-agent": "../cmd/troop-agent", "troop-relay": "../cmd/troop-relay",
	})
	file := project(t, labPipeline)
	p, _, diags := manifest.Load(file, manifest.Options{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	folder := filepath.Join(filepath.Dir(file), ".troop")
	e, err := environment.Open(environment.Options{Pipeline: p, Dir: folder, Programs: dir, What: "test", Locks: store.Open(folder)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background() // the test's context has ended
		plan, err := e.PlanDestroy(ctx)
		if err == nil {
			err = e.Apply(ctx, plan, func(core.Event) {})
		}
		if err != nil {
			t.Error(err)
		}
		_ = e.Close()
	})
	out := sh(t, "/", filepath.Join(dir, "program")+" "+file+" lab "+dir)
	for _, want := range []string{"environment.lab environment.ready ready", "hosts.all log web-1 is a host\n", "run run.passed passed\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	h, err := e.Host("web-1")
	if err != nil {
		t.Fatal(err)
	}
	ssh, err := e.SSH()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := ssh.RunRoot(t.Context(), h, "hostname", nil); err != nil || strings.TrimSpace(string(out)) == "" {
		t.Errorf("%q, %v", out, err)
	}
	if report, err := e.Drift(t.Context()); err != nil || !report.Empty() {
		t.Errorf("%v, %v", report, err)
	}
}
