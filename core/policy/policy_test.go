package policy_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/policy"
)

const hosts = `package terraform

# A library function, and a helper that is no rule.
destroys(r) if "delete" in r.change.actions

deny contains msg if {
	some r in input.resource_changes
	destroys(r)
	r.type == "lab_host"
	msg := sprintf("%s holds data", [r.address])
}

deny contains {"msg": "too many hosts", "why": "quota"} if count(input.resource_changes) > 2

warn_large contains "a large host" if {
	some r in input.resource_changes
	r.change.after.memory == "8GiB"
}
`

const main = `package main

import data.terraform

violation contains "destroys, said again" if {
	count(terraform.deny) > 0
}

warn := "always"

default deny := false

deny if input.resource_changes[_].type == "forbidden"
`

func input(t *testing.T, text string) map[string]any {
	t.Helper()
	var plan map[string]any
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestJudge(t *testing.T) {
	rules, err := policy.Compile("/shop", map[string][]byte{"/shop/policy/hosts.rego": []byte(hosts), "/shop/policy/main.rego": []byte(main)})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		plan string
		want []core.Finding
	}{
		"nothing but the warning": {`{"resource_changes": []}`, []core.Finding{
			{Path: "policy/main.rego", Line: 9, Severity: "warning", Rule: "warn", Message: "always"},
		}},
		"a destroyed host": {`{"resource_changes": [
			{"type": "lab_host", "address": "lab_host.web", "change": {"actions": ["delete", "create"], "after": {"memory": "8GiB"}}}
		]}`, []core.Finding{
			{Path: "policy/hosts.rego", Line: 6, Severity: "error", Rule: "deny", Message: "lab_host.web holds data"},
			{Path: "policy/hosts.rego", Line: 15, Severity: "warning", Rule: "warn_large", Message: "a large host"},
			{Path: "policy/main.rego", Line: 5, Severity: "error", Rule: "violation", Message: "destroys, said again"},
			{Path: "policy/main.rego", Line: 9, Severity: "warning", Rule: "warn", Message: "always"},
		}},
		"an object and a truth": {`{"resource_changes": [{"type": "forbidden"}, {}, {}]}`, []core.Finding{
			{Path: "policy/hosts.rego", Line: 13, Severity: "error", Rule: "deny", Message: "too many hosts"},
			{Path: "policy/main.rego", Line: 5, Severity: "error", Rule: "violation", Message: "destroys, said again"},
			{Path: "policy/main.rego", Line: 9, Severity: "warning", Rule: "warn", Message: "always"},
			{Path: "policy/main.rego", Line: 13, Severity: "error", Rule: "deny", Message: "the rule holds"},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := rules.Judge(t.Context(), input(t, tt.plan))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestOneSetOfTwoFiles checks that messages of the same set from two files are shown with their own file.
func TestOneSetOfTwoFiles(t *testing.T) {
	rules, err := policy.Compile("", map[string][]byte{
		"a.rego": []byte("package terraform\n\ndeny contains \"from a\"\n"),
		"b.rego": []byte("package terraform\n\ndeny contains \"from b\"\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := rules.Judge(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []core.Finding{
		{Path: "a.rego", Line: 3, Severity: "error", Rule: "deny", Message: "from a"},
		{Path: "b.rego", Line: 3, Severity: "error", Rule: "deny", Message: "from b"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestMistakes(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string // diagnostics
	}{
		"syntax":           {"package terraform\n\ndeny contains msg if {\n\tmsg := \n}\n", []string{"x.rego:5,1", "unexpected } token"}},
		"an old syntax":    {"package terraform\n\ndeny[msg] {\n\tmsg := \"x\"\n}\n", []string{"x.rego:3,1", "`if` keyword is required", "`contains` keyword is required"}},
		"unknown function": {"package terraform\n\ndeny contains \"x\" if startwith(input.a, \"b\")\n", []string{"x.rego:3,22", "undefined function startwith"}},
		"unsafe variable":  {"package terraform\n\ndeny contains msg if input.a\n", []string{"x.rego:3,1", "msg is unsafe"}},
		"the network":      {"package terraform\n\ndeny contains \"x\" if http.send({\"method\": \"get\", \"url\": \"u\"})\n", []string{"x.rego:3,22", "undefined function http.send"}},
		"the environment":  {"package terraform\n\ndeny contains opa.runtime().env.HOME\n", []string{"undefined function opa.runtime"}},
		"no verdict":       {"package terraform\n\ndenied contains \"x\" if input.a\n", []string{"x.rego:1,1", "deny, violation or warn"}},
		"no package":       {"deny contains \"x\"\n", []string{"x.rego:1,1", "package"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Compile("", map[string][]byte{"x.rego": []byte(tt.text)})
			diags := core.Diagnostics(nil)
			if !errors.As(err, &diags) || !diags.HasErrors() {
				t.Fatalf("got %v, want diagnostics", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(strings.ToLower(diags.Error()), strings.ToLower(want)) {
					t.Errorf("got  %s\nwant %s", diags, want)
				}
			}
			if n := strings.Count(diags.Error(), "\n") + 1; name != "an old syntax" && n != 1 {
				t.Errorf("%d diagnostics for one mistake:\n%s", n, diags)
			}
		})
	}
}

// TestNothingOnHostsKnowsOPA keeps binaries for hosts small.
func TestNothingOnHostsKnowsOPA(t *testing.T) {
	const opa = "github.com/open-policy-agent/opa/"
	deps := func(packages ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps"}, packages...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	const module = "github.com/seed-b96de936/troop/"
	if !strings.Contains(deps(module+"core/cmd/troop"), opa) {
		t.Fatal("troop does not know OPA: nothing is tested")
	}
	for line := range strings.Lines(deps(module+"core/cmd/troop-agent", module+"plugins/...")) {
		if strings.HasPrefix(line, opa) {
			t.Errorf("troop-agent or a plugin imports %s", line)
		}
	}
}
