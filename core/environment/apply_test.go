package environment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/terraform"
)

// module makes hosts that exist only in Terraform's state.
const module = `
variable "hosts" { type = map(number) }
variable "key" { type = string }
resource "terraform_data" "host" {
  for_each = var.hosts
  input    = each.value
}
output "hosts" {
  value = { for name, port in var.hosts : name => {
    role = "production", address = "127.0.0.1", port = port, user = "root", host_key = var.key
  } }
}
`

const anyKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHf5WKrOF8KnLsmLFKrMyFJmPlFSTJnTzTGJeCTIbpiA"

// terraform configures a module with hosts by name and port.
func (p *project) terraform(hosts map[string]any) *core.TerraformConfig {
	p.Helper()
	p.write("module/main.tf", module)
	t := &core.TerraformConfig{
		Module: filepath.Join(p.dir, "module"), Variables: map[string]any{"hosts": hosts, "key": anyKey},
		Review: core.Review{MaxDestroy: -1},
	}
	p.lab().Terraform = t
	return t
}

// apply plans, reviews and applies, and returns the plan's summary and the events.
func apply(t *testing.T, e *Environment, destroy bool) (summary string, events []string) {
	t.Helper()
	plan := e.ToApply
	if destroy {
		plan = e.PlanDestroy
	}
	p, err := plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Review(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Refusal(r); err != nil {
		t.Fatal(err)
	}
	err = e.Apply(t.Context(), p, func(event core.Event) {
		if event.Source != "environment.lab" || event.Environment != "lab" {
			t.Errorf("an event without a source: %+v", event)
		}
		events = append(events, fmt.Sprintf("%s %s %s", event.Host, event.Summary, event.Data["status"]))
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.Summary(), events
}

func names(t *testing.T, e *Environment) string {
	t.Helper()
	hosts, err := e.Hosts()
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, h := range hosts {
		all = append(all, string(h.Name))
	}
	return strings.Join(all, " ")
}

// TestApply makes, changes, restores and destroys an environment.
func TestApply(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	conf := p.terraform(map[string]any{"web-1": 2201})
	e := p.open(p.options())
	if _, err := e.Saved(t.Context()); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("before a plan: %v", err)
	}
	summary, events := apply(t, e, false)
	if summary != "1 to create" || !slices.Contains(events, `web-1 create terraform_data.host["web-1"] done`) {
		t.Errorf("the first apply: %s, %q", summary, events)
	}
	if got := names(t, e); got != "web-1" {
		t.Errorf("hosts: %s", got)
	}
	known, err := os.ReadFile(filepath.Join(p.dir, ".troop/lab/known_hosts"))
	if err != nil || string(known) != "[127.0.0.1]:2201 "+anyKey+"\n" {
		t.Errorf("pinned: %q, %v", known, err)
	}
	if _, err := e.secrets(); err != nil {
		t.Fatal(err)
	}

	conf.Variables["hosts"] = map[string]any{"web-1": 2201, "web-2": 2202}
	e = p.open(p.options())
	if summary, _ := apply(t, e, false); summary != "1 to create" || names(t, e) != "web-1 web-2" {
		t.Errorf("the second apply: %s; hosts: %s", summary, names(t, e))
	}
	s, err := e.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found, err := s.Find("web-2"); err != nil || len(found) != 1 {
		t.Errorf("state: %+v, %v", found, err)
	}
	copies, err := e.Copies()
	if err != nil || len(copies) != 1 || copies[0].Before.What != "troop test" {
		t.Fatalf("copies: %+v, %v", copies, err)
	}
	no := errors.New("no")
	if done, err := e.Restore(t.Context(), copies[0].Number, func(*terraform.Difference) error { return no }); done || !errors.Is(err, no) || names(t, e) != "web-1 web-2" {
		t.Errorf("a restore that nobody agreed to: %v, %v; hosts: %s", done, err, names(t, e))
	}
	agree := func(d *terraform.Difference) error {
		if d == nil || d.Empty() {
			t.Errorf("the difference to agree to: %+v", d)
		}
		return nil
	}
	if done, err := e.Restore(t.Context(), copies[0].Number, agree); err != nil || !done || names(t, e) != "web-1" {
		t.Errorf("after a restore: %v, %v; hosts: %s", done, err, names(t, e))
	}
	held, err := e.Holders(t.Context())
	if err != nil || held.Environment != nil || held.State != nil || held.Lines()[0] != "the state of environment lab is not locked" {
		t.Errorf("holders: %+v, %v", held, err)
	}

	if _, err := e.PlanDestroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ToApply(t.Context()); err == nil || !strings.Contains(err.Error(), "to apply it: troop destroy shop.hcl --env lab; or plan again: troop plan shop.hcl --env lab") {
		t.Errorf("to apply a plan that destroys: %v", err)
	}
	if _, events := apply(t, e, true); !slices.Contains(events, `web-1 destroy terraform_data.host["web-1"] done`) {
		t.Errorf("destroy: %q", events)
	}
	for _, gone := range []string{"hosts.json", "known_hosts", "fingerprints", "secrets.json"} {
		if slices.Contains(p.exists(), gone) {
			t.Errorf("%s is left", gone)
		}
	}
	if !slices.Contains(p.exists(), "ssh_key") {
		t.Error("the key is gone")
	}
	if _, events := apply(t, e, true); len(events) > 0 {
		t.Errorf("destroyed again: %q", events)
	}
}

// TestReview checks what an approval is bound to.
func TestReview(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	conf := p.terraform(map[string]any{"web-1": 2201})
	conf.Review.Approve = true
	conf.Review.Rules = []string{p.write("policy/hosts.rego", "package terraform\n\nimport rego.v1\n\nwarn contains \"mind the hosts\" if true\n")}
	o := p.options()
	o.Commit, o.Manifest, o.PluginLock = "abc", []byte("pipeline {}"), core.DigestOf([]byte("lock"))
	e := p.open(o)
	plan, err := e.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	review := func(e *Environment) *terraform.Review {
		t.Helper()
		r, err := e.Review(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := review(e)
	if len(r.Findings) != 1 || r.Findings[0].Message != "mind the hosts" {
		t.Errorf("findings: %+v", r.Findings)
	}
	want := "read it: troop plan --saved shop.hcl --env lab; approve it: troop approve shop.hcl --env lab " + plan.Name()
	if err := e.Refusal(r); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("before an approval: %v, want %s", err, want)
	}
	if err := e.Decide(t.Context(), r, terraform.Decision{From: "desk"}); err != nil {
		t.Fatal(err)
	}
	if r := review(p.open(o)); p.open(o).Refusal(r) != nil || r.Approval.By != "ann" || r.Approval.From != "desk" {
		t.Errorf("after an approval: %+v", r.Approval)
	}
	for what, change := range map[string]func(o *Options){
		"the commit":      func(o *Options) { o.Commit = "def" },
		"the manifest":    func(o *Options) { o.Manifest = []byte("pipeline { }") },
		"the plugin lock": func(o *Options) { o.PluginLock = "" },
	} {
		o := o
		change(&o)
		e := p.open(o)
		if err := e.Refusal(review(e)); err == nil || !strings.Contains(err.Error(), what+" changed") || !strings.HasSuffix(err.Error(), ": troop plan shop.hcl --env lab") {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.write("policy/hosts.rego", "package terraform\n\nimport rego.v1\n\nwarn contains \"mind all hosts\" if true\n")
	e = p.open(o)
	if err := e.Refusal(review(e)); err == nil || !strings.Contains(err.Error(), "the manifest changed") {
		t.Errorf("another rule: %v", err)
	}
	event, err := planEvent(r)
	if err != nil || event.Kind != core.KindPlan || !strings.HasPrefix(event.Summary, "1 to create (plan "+plan.Name()+"), approved by ann from desk") || event.Data["lines"] == nil {
		t.Errorf("event: %+v, %v", event, err)
	}
}

func TestWithoutTerraform(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	e := p.open(p.options())
	for name, call := range map[string]func() error{
		"plan":      func() error { _, err := e.Plan(t.Context()); return err },
		"state":     func() error { _, err := e.State(t.Context()); return err },
		"preflight": func() error { _, err := e.Preflight(t.Context(), nil, nil); return err },
		"lock":      func() error { _, err := e.Holders(t.Context()); return err },
	} {
		if err := call(); err == nil || err.Error() != "environment lab has no terraform block" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := e.Copies(); err != nil || len(all) > 0 {
		t.Errorf("copies: %v, %v", all, err)
	}
	if got := p.exists(); len(got) > 0 {
		t.Errorf("made %v", got)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	conf := p.terraform(nil)
	at := core.Range{File: "shop.hcl", Start: core.Pos{Line: 7}}
	conf.Variables = map[string]any{"hots": 1}
	conf.Places = map[string]core.Range{"hots": at}
	bad := p.write("policy/bad.rego", "package terraform\n\nimport rego.v1\n\ndeny contains \"x\" if startwith(input.a, \"b\")\n")
	conf.Review.Rules = []string{bad}
	shared := &core.TerraformConfig{Review: core.Review{Rules: []string{bad}}}
	p.pipeline.Environments = append(p.pipeline.Environments, core.Environment{Name: "production", Terraform: shared}, core.Environment{Name: "bare"})
	diags, sources := Check(p.pipeline)
	if len(diags) != 2 || diags[0].Summary != "Unknown module variable" || diags[0].Range != at ||
		!strings.HasSuffix(diags[0].Detail, "has no variable hots; it has hosts, key.") || !strings.Contains(diags.Error(), "startwith") {
		t.Errorf("%+v", diags)
	}
	if len(sources) != 1 || len(sources[bad]) == 0 {
		t.Errorf("sources: %v", sources)
	}
	conf.Review.Rules, shared.Review.Rules = []string{"/does/not/exist.rego"}, nil
	p.write("module/main.tf", "variable {")
	diags, _ = Check(p.pipeline)
	if len(diags) != 2 || diags[0].Summary != "Module cannot be read" || diags[1].Summary != "Rules cannot be read" {
		t.Errorf("%+v", diags)
	}
	play := p.write("team.yml", "- hosts: all\n  roles: [nowhere]\n")
	p.pipeline.Environments = []core.Environment{{Name: "bare", Ansible: &core.AnsibleConfig{Playbook: play}}}
	if diags, _ := Check(p.pipeline); len(diags) != 1 || diags[0].Summary != "Role not found" || diags[0].Range.String() != play+":2,11-18" {
		t.Errorf("%+v", diags)
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.terraform(nil)
	e := p.open(p.options())
	var before, after []string
	found, err := e.Preflight(t.Context(), func(name string) { before = append(before, name) }, func(c core.Check) { after = append(after, c.Name) })
	if err != nil || found.Status != core.Passed || found.Failed() != 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	if !slices.Equal(before, []string{"terraform", "ssh"}) || !slices.Equal(after, []string{"terraform", "ssh", "providers"}) {
		t.Errorf("before %v, after %v", before, after)
	}
	if got := p.exists(); len(got) > 0 {
		t.Errorf("preflight has made %v", got)
	}
	// The lab's provider ships with troop and checks for itself.
	p.lab().Terraform = &core.TerraformConfig{Module: "lab"}
	e = p.open(p.options())
	none := func(string) {}
	found, err = e.Preflight(t.Context(), none, func(core.Check) {})
	if last := found.Checks[len(found.Checks)-1]; err != nil || found.Failed() != 1 || last.Name != "provider" || !strings.Contains(last.Remedy, "must be in the same folder as troop") {
		t.Errorf("%+v, %v", found, err)
	}
	p.write("bin/terraform-provider-lab", "#!/bin/sh\nread -r request\ncase $request in *'\"folder\":\"'*'/lab/terraform\"'*) s=passed;; *) s=failed;; esac\necho '{\"name\":\"bridge\",\"status\":\"'$s'\"}'\n")
	found, err = e.Preflight(t.Context(), none, func(core.Check) {})
	if last := found.Checks[len(found.Checks)-1]; err != nil || last.Name != "bridge" || last.Status != core.Passed {
		t.Errorf("%+v, %v", found, err)
	}
}
