package manifest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
)

// described stands for every plugin: all have the same capabilities, and find nothing wrong with a block.
type described struct {
	core.Plugin
	typ          string
	capabilities []core.Capability
}

func (d described) Description() core.Description {
	return core.Description{
		Name: d.typ, Stage: true, Capabilities: d.capabilities,
		Agent:   &core.Agent{Capabilities: []core.Capability{"state", "events"}}, // of a face that a run does not have
		Actions: []core.Action{{Name: "status", Capabilities: []core.Capability{"inventory"}}},
	}
}

func (described) Check(context.Context, core.Config) (core.Diagnostics, error) { return nil, nil }
func (described) Digest() core.Digest                                          { return "sha256:0" }
func (described) Close() error                                                 { return nil }

type plugins []core.Capability

func (p plugins) Open(_ context.Context, typ string) (core.Plugin, error) {
	return described{typ: typ, capabilities: p}, nil
}

// nowhere lets no run go further than its checks.
// everybodys are environments that anybody may open.
type everybodys struct{ core.Environments }

func (everybodys) Admit(context.Context, *core.Pipeline, string) error { return nil }

type nowhere struct{ core.Store }

func (nowhere) PutRun(context.Context, core.Run) error   { return nil }
func (nowhere) Append(context.Context, core.Event) error { return nil }

func (nowhere) Workspace(core.RunID) (string, error) { return "", errors.New("no further") }
func (nowhere) StageState(string, core.StageID) (string, error) {
	return "", errors.New("no further")
}

// needy are the stages that need an environment and have none.
func needy(diags core.Diagnostics) (stages []string) {
	for _, d := range diags {
		if id, ok := strings.CutSuffix(d.Summary, " needs an environment"); ok {
			stages = append(stages, id)
		}
	}
	return stages
}

// TestValidateAgreesWithRun runs both over every manifest of testdata, with plugins that work on hosts and with some that
// do not: what validate says needs an environment, no run without one can do, and the other way round.
func TestValidateAgreesWithRun(t *testing.T) {
	checked, found := 0, 0
	for _, f := range slices.Concat(fixtures(t, "good"), fixtures(t, "bad")) {
		t.Run(strings.TrimSuffix(f.file[strings.LastIndex(f.file, "testdata/")+9:], ".txtar"), func(t *testing.T) {
			f.unpack(t)
			p, _, _ := Load(cmp.Or(f.path, "pipeline.hcl"), f.options)
			if p == nil {
				return
			}
			for _, declared := range []plugins{nil, {"artifacts", "workspace"}, {"inventory"}} {
				e := &engine.Engine{Plugins: declared, Store: nowhere{}, Folders: nowhere{}, Environments: everybodys{}}
				run := func(o core.RunOptions) ([]string, bool) {
					_, err := e.Run(t.Context(), p, o)
					diags, refused := errors.AsType[core.Diagnostics](err)
					return needy(diags), err == nil || refused
				}
				for _, env := range p.Environments {
					if got := needy(e.Validate(t.Context(), p, env.Name)); len(got) > 0 {
						t.Errorf("in %s: validate wants an environment for %q", env.Name, got)
					}
					if got, _ := run(core.RunOptions{Environment: env.Name}); len(got) > 0 {
						t.Errorf("in %s: run wants an environment for %q", env.Name, got)
					}
				}
				diags := e.Validate(t.Context(), p, "")
				said := needy(diags)
				if wrong := len(p.Environments) == 0 && len(said) > 0; wrong && !diags.HasErrors() {
					t.Errorf("a pipeline without environments: %v", diags)
				}
				agree(t, p, said, run)
				checked++
				found += len(said)
			}
		})
	}
	if checked < 300 || found < 50 {
		t.Errorf("%d checks, %d stages without an environment: the test does not test", checked, found)
	}
}

// agree compares what validate said with runs on several branches.
func agree(t *testing.T, p *core.Pipeline, said []string, run func(core.RunOptions) ([]string, bool)) {
	t.Helper()
	refused, possible := map[string]bool{}, map[string]bool{}
	branches := []string{"main", "master", "develop", "release/1.0", "feature/x", "elsewhere"}
	for _, x := range p.Triggers {
		branches = append(branches, x.Branches...) // those without a * are names
	}
	for _, branch := range branches {
		lacking, judged := run(core.RunOptions{Branch: branch})
		if !judged {
			return // its graph is broken
		}
		for _, s := range p.Stages {
			name := "Stage " + string(s.ID())
			switch {
			case slices.Contains(lacking, name):
				refused[name] = true
			case s.Environment != "" || slices.ContainsFunc(p.Triggers, func(x core.Trigger) bool { return slices.Contains(x.Branches, branch) }):
				possible[name] = true
			}
		}
	}
	for name := range refused {
		if !possible[name] && !slices.Contains(said, name) {
			t.Errorf("%s needs an environment on every branch where it runs, and validate says nothing", name)
		}
	}
	for _, name := range said {
		if !refused[name] || possible[name] {
			t.Errorf("validate says that %s needs an environment; a run refuses it: %v, lets it be: %v", name, refused[name], possible[name])
		}
	}
}
