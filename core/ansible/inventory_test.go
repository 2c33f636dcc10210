package ansible

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

func TestInventory(t *testing.T) {
	b, err := inventory([]core.Host{
		{Name: "web-1", Role: "production", Address: "203.0.113.5", PrivateAddress: "10.0.0.5", User: "admin", Port: 2222},
		{Name: "router-1", Role: "router", Address: "203.0.113.6", PrivateAddress: "10.0.0.6", User: "root"},
		{Name: "all-1", Role: "router", Roles: []string{"canary", "router"}, Address: "203.0.113.7", PrivateAddress: "10.0.0.7", User: "root", Given: &core.Given{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		All struct {
			Hosts    map[string]map[string]any
			Children map[string]struct {
				Hosts    map[string]any
				Children map[string]any
			}
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	web := got.All.Hosts["web-1"]
	for name, want := range map[string]any{
		"ansible_host": "203.0.113.5", "ansible_port": 2222.0, "ansible_user": "admin", "ansible_become": true,
		"troop_role": "production", "troop_private_address": "10.0.0.5",
	} {
		if web[name] != want {
			t.Errorf("%s of web-1 = %v, want %v", name, web[name], want)
		}
	}
	if _, become := got.All.Hosts["router-1"]["ansible_become"]; become {
		t.Error("root becomes root")
	}
	if all := got.All.Hosts["all-1"]; all["troop_role"] != "router" || all["troop_given"] != true {
		t.Errorf("a server with two roles that exists already: %v", all)
	}
	for _, group := range []string{"canary", "router"} {
		if _, in := got.All.Children[group].Hosts["all-1"]; !in {
			t.Errorf("all-1 is not in group %s", group)
		}
	}
	for group, host := range map[string]string{"production": "web-1", "router": "router-1"} {
		if _, in := got.All.Children[group].Hosts[host]; !in {
			t.Errorf("%s is not in group %s", host, group)
		}
	}
	for _, group := range []string{"storage"} {
		if _, known := got.All.Children[group]; !known {
			t.Errorf("group %s without hosts is missing", group)
		}
	}
	if len(got.All.Children["app"].Children) != 2 {
		t.Errorf("app = %v", got.All.Children["app"])
	}
	if _, err := inventory([]core.Host{{Name: "a"}, {Name: "a"}}); err == nil || !strings.Contains(err.Error(), "two hosts are named a") {
		t.Errorf("two hosts of one name: %v", err)
	}
}

func TestExtraVars(t *testing.T) {
	for want, vars := range map[string]map[string]any{
		"{}\n": nil,
		`{"a": 1, "b": [true, null, 1.5], "c": {"d": "e"}}` + "\n": {"a": 1, "b": []any{true, nil, 1.5}, "c": map[string]string{"d": "e"}},
		`{"k": "a\nb\u0009\u007f\u00e9\U0001f600\"\\"}` + "\n":     {"k": "a\nb\t\u007fé😀\"\\"},
		`{"k": !unsafe "{{ x }}", "l": "${x}"}` + "\n":             {"k": "{{ x }}", "l": "${x}"},
		`{"k": !unsafe "{% x %}"}` + "\n":                          {"k": "{% x %}"},
	} {
		got, err := extraVars(vars)
		if err != nil || string(got) != want {
			t.Errorf("extraVars(%v) = %s (%v), want %s", vars, got, err, want)
		}
	}
	got, err := extraVars(map[string]any{"a": 1, "b": 1}, map[string]any{"b": 2})
	if err != nil || string(got) != `{"a": 1, "b": 2}`+"\n" {
		t.Errorf("later maps do not win: %s (%v)", got, err)
	}
	if _, err := extraVars(map[string]any{"f": func() {}}); err == nil {
		t.Error("a function is taken for a value")
	}
}

func TestMessage(t *testing.T) {
	one := 1
	for name, c := range map[string]struct {
		status  string
		details details
		want    string
	}{
		"command":  {"failed", details{Msg: "non-zero return code", Stderr: "first\n\nlast\n", RC: &one}, "exit status 1: first\nlast"},
		"silent":   {"failed", details{Msg: "non-zero return code", RC: &one}, "exit status 1"},
		"stdout":   {"failed", details{Msg: "no", Stdout: "why\n"}, "no: why"},
		"once":     {"failed", details{Msg: "no: why", Stderr: "why"}, "no: why"},
		"module":   {"failed", details{Msg: "MODULE FAILURE\nSee stdout", ModuleStderr: "Traceback\nKeyError"}, "Traceback\nKeyError"},
		"list":     {"failed", details{Msg: []any{"a", "b"}}, `["a","b"]`},
		"censored": {"failed", details{Msg: "x", Censored: "hidden"}, "the result is hidden, since it may hold a secret (no_log)"},
		"skipped":  {"skipped", details{Msg: "x", SkipReason: "Conditional result was False"}, "Conditional result was False"},
		"ok":       {"ok", details{Msg: "fine", Stdout: "noise"}, "fine"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.details.message(c.status); got != c.want {
				t.Errorf("message = %q, want %q", got, c.want)
			}
		})
	}
}
