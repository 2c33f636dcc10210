package main

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ old, replacement, want string }{
		"good":                  {"", "", ""},
		"name":                  {`command = ["node", "start.js"]`, "command = [\"node\"]\n  name = \"My Shop\"", `pipeline.hcl:5,3-19: `},
		"root":                  {`command = ["node", "start.js"]`, "command = [\"node\"]\n  user = \"root\"", "does not run as root"},
		"no program":            {`["node", "start.js"]`, "[]", "name a program"},
		"health":                {`command = ["node", "start.js"]`, "command = [\"node\"]\n  health { path = \"healthz\" }", "pipeline.hcl:5,12-28: Invalid deploy stage; want a path such as /healthz"},
		"health status":         {`command = ["node", "start.js"]`, "command = [\"node\"]\n  health { status = 42 }", "want a status from 200 to 599"},
		"health host":           {`command = ["node", "start.js"]`, "command = [\"node\"]\n  health { host = \"a b\" }", "want a name such as shop.example.com"},
		"health twice":          {`command = ["node", "start.js"]`, "command = [\"node\"]\n  health {\n command = [\"true\"]\n stays_up = \"5s\"\n }", "by its command or by staying up; name one"},
		"health was a path":     {`command = ["node", "start.js"]`, "command = [\"node\"]\n  health = \"/healthz\"", "health"},
		"allow":                 {`command = ["node", "start.js"]`, "command = [\"node\"]\n  allow = { netlink = \"lists the interfaces\" }\n data = [\"uploads\", \"public/media\"]\n limits {\n memory = \"512M\"\n cpu = 150\n files = 65536\n}", ""},
		"allow what":            {`command = ["node", "start.js"]`, "command = [\"node\"]\n  allow = { root = \"comfort\" }", "want debug, devices, netlink, got \"root\""},
		"allow why":             {`command = ["node", "start.js"]`, "command = [\"node\"]\n  allow = { netlink = \" \" }", "say in one line why the release needs netlink"},
		"data elsewhere":        {`command = ["node", "start.js"]`, "command = [\"node\"]\n  data = [\"../etc\"]", "want a folder of the release"},
		"data itself":           {`command = ["node", "start.js"]`, "command = [\"node\"]\n  data = [\".\"]", "want a folder of the release"},
		"limit":                 {`command = ["node", "start.js"]`, "command = [\"node\"]\n  limits { memory = \"much\" }", "want a size such as 512M"},
		"programs":              {"canary {", programs + "canary {", ""},
		"two programs":          {"canary {", programs + "process \"migrate\" { command = [\"x\"] }\ncanary {", "two programs \"migrate\""},
		"a program's name":      {"canary {", "task \"My Task\" { command = [\"x\"] }\ncanary {", "want a name of a-z"},
		"a task's place":        {"canary {", "task \"a\" {\n command = [\"x\"]\n before = \"all\"\n}\ncanary {", "want canary or production"},
		"a process's hosts":     {"canary {", "process \"a\" {\n command = [\"x\"]\n hosts = \"web\"\n}\ncanary {", "want all, one, production or canary"},
		"a calendar":            {"canary {", "schedule \"a\" {\n command = [\"x\"]\n calendar = \"@daily\"\n}\ncanary {", "want a calendar event"},
		"max_body":              {`command = ["node", "start.js"]`, "command = [\"node\"]\n  max_body = \"10MB\"", "want a size such as 512K or 10M"},
		"timeouts":              {`command = ["node", "start.js"]`, "command = [\"node\"]\n  timeouts { tunnel = \"10ms\" }", "want 1s to 576h"},
		"variable":              {`command = ["node", "start.js"]`, "command = [\"node\"]\n  environment = { \"A B\" = \"1\" }", "not a name of an environment variable"},
		"unknown pool":          {"min_requests = 1", "weights = { green = 1, production = 2 }", "the pools are production and canary"},
		"no production":         {"min_requests = 1", "weights = { production = 0, canary = 1 }", "production from 1"},
		"percentages that fit":  {"min_requests = 1", "weights = { production = 66, canary = 33 }", ""},
		"no_traffic":            {`"promote"`, `"guess"`, "want promote, hold or abort"},
		"no_traffic is missing": {"no_traffic   = \"promote\"", "", `needs the argument "no_traffic"`},
		"negative":              {"min_requests = 1", "min_requests = -1", "want 0 or more"},
		"rate":                  {"min_requests = 1", "max_error_rate = 5", "want a share from 0 to 1"},
		"factor":                {"min_requests = 1", "latency_factor = 0.5", "want 1 or more"},
		"fail_on":               {"min_requests = 1", "fail_on = [\"5xx\", \"slow\"]", "want a status such as 404, a class such as 5xx, or unanswered"},
		"steps":                 {"min_requests = 1", "steps = [1, 5, 33]", ""},
		"steps go down":         {"min_requests = 1", "steps = [5, 5]", "each above the one before, got [5 5]"},
		"a step too far":        {"min_requests = 1", "steps = [50, 100]", "want per cents from 1 to 99"},
		"windows":               {"min_requests = 1", "windows = [\"Mon-Fri 09:00-16:00 Europe/Berlin\", \"Sat 00:00-24:00\"]", ""},
		"window":                {"min_requests = 1", "windows = [\"weekdays\"]", "want DAYS FROM-TO [ZONE]"},
		"zone":                  {"min_requests = 1", "windows = [\"Mon 09:00-16:00 Mars\"]", "unknown time zone Mars"},
		"warm_up":               {"min_requests = 1", "warm_up = \"500ms\"", "want less than watch, which is 500ms"},
		"misspelt":              {"min_requests = 1", "min_request = 10", "min_requests"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(body, "service { command = [\"node\", \"start.js\"] }", "service {\n  command = [\"node\", \"start.js\"]\n}", 1)
			err := sdktest.Check(t, stage(onRouter()), strings.Replace(text, tt.old, tt.replacement, 1))
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	b := sdktest.Binary{
		Valid:   body,
		Invalid: map[string]string{"": `needs the argument "artifact"`, strings.Replace(body, "promote", "guess", 1): "want promote, hold or abort"},
		Cancel:  true,
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage(onRouter()), b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "deploy"), b) })
}

// TestOpened holds the names that a sandbox can open to those that the role knows.
func TestOpened(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../playbooks/roles/release/vars/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	var vars struct {
		Opened map[string]string `yaml:"__release_opened"`
	}
	if err := yaml.Unmarshal(b, &vars); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(vars.Opened)); !slices.Equal(got, opened) {
		t.Errorf("the role opens %q, the stage %q", got, opened)
	}
}

func TestReleaseIdentity(t *testing.T) {
	t.Parallel()
	c := config{Artifact: "sha256:abcdef0123456789", Service: service{Command: []string{"node"}, Environment: map[string]string{"A": "1"}}}
	first := c.release("shop")
	if again := c.release("shop"); again.ID != first.ID {
		t.Error("the same release has two identities")
	}
	c.Service.Environment = map[string]string{"A": "2"}
	if other := c.release("shop"); other.ID == first.ID {
		t.Error("another environment has the same identity")
	}
	if first.User != "shop" {
		t.Errorf("user %q, want that of the service", first.User)
	}
}
