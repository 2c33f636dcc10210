package terraform

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
)

// shown is the output of `terraform show -json`, reduced to the fields in use.
const shown = `{
  "format_version": "1.2",
  "timestamp": "2026-01-01T00:00:00Z",
  "resource_drift": [
    {"address": "lab_host.this[\"web-1\"]", "mode": "managed", "type": "lab_host", "index": "web-1",
     "change": {"actions": ["delete"], "before": {"name": "web-1"}, "after": null}}
  ],
  "resource_changes": [
    {"address": "lab_roster.this", "mode": "managed", "type": "lab_roster", "change": {"actions": ["no-op"]}},
    {"address": "data.aws_ami.debian", "mode": "data", "type": "aws_ami", "change": {"actions": ["read"]}},
    {"address": "lab_host.this[\"web-1\"]", "mode": "managed", "type": "lab_host", "index": "web-1",
     "change": {"actions": ["create"], "before": null, "after": {"name": "web-1"}, "after_unknown": {"pid": true}}},
    {"address": "lab_host.this[\"web-2\"]", "mode": "managed", "type": "lab_host", "index": "web-2", "action_reason": "delete_because_each_key",
     "change": {"actions": ["delete"], "before": {"name": "web-2"}, "after": null}},
    {"address": "lab_host.this[\"canary-1\"]", "mode": "managed", "type": "lab_host", "index": "canary-1",
     "change": {"actions": ["delete", "create"],
       "before": {"memory": "512MiB", "pid": 7, "token": "hunter2", "tags": {"a": "s3cret"}, "role": "canary"},
       "after": {"memory": "1GiB", "token": "hunter3", "tags": {"a": "s3cret too"}, "role": "canary"},
       "after_unknown": {"pid": true, "tags": {}},
       "before_sensitive": {"token": true, "tags": {"a": true}}, "after_sensitive": {"tags": {}},
       "replace_paths": [["memory"]]}},
    {"address": "aws_eip.router[0]", "mode": "managed", "type": "aws_eip", "index": 0,
     "change": {"actions": ["update"], "before": {"name": "a"}, "after": {"name": "the manifest-secret"}}}
  ],
  "output_changes": {
    "hosts": {"actions": ["update"], "before": {"canary-1": {"role": "canary"}, "web-2": {"role": "production"}}, "after": {"web-1": {"role": "production"}}},
    "capacity": {"actions": ["update"], "before": {"small": {"hosts": 2, "zones": {"a": 1, "b": 1}}, "large": {"hosts": 1}}, "after": {"small": {"hosts": 3, "zones": {"a": 2, "b": 1}}}},
    "subnet": {"actions": ["no-op"]}
  }
}`

func readShown(t *testing.T, text string) *Plan {
	t.Helper()
	var p tfjson.Plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	plan, err := read(&p, []byte(text), []string{"manifest-secret"}, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestReadPlan(t *testing.T) {
	got := readShown(t, shown)
	want := &Plan{
		Digest: got.Digest,
		Changes: []Change{
			{Address: "aws_eip.router[0]", Type: "aws_eip", Action: Update, Attributes: []Attribute{{Name: "name", Before: `"a"`, After: `"the ***"`}}},
			{Address: `lab_host.this["canary-1"]`, Type: "lab_host", Host: "canary-1", Role: "canary", Action: Replace, Unknown: []string{"pid"}, Facts: "1GiB, canary", Attributes: []Attribute{
				{Name: "memory", Before: `"512MiB"`, After: `"1GiB"`, Forces: true},
				{Name: "pid", Before: "7", After: unknown},
				{Name: "tags", Before: sensitive, After: sensitive},
				{Name: "token", Before: sensitive, After: sensitive},
			}},
			{Address: `lab_host.this["web-1"]`, Type: "lab_host", Host: "web-1", Role: "production", Action: Create, Unknown: []string{"pid"}, Facts: "web-1", Attributes: []Attribute{
				{Name: "name", After: `"web-1"`}, {Name: "pid", After: unknown},
			}},
			{Address: `lab_host.this["web-2"]`, Type: "lab_host", Host: "web-2", Role: "production", Action: Destroy, Reason: "it is no longer among the module's keys", Attributes: []Attribute{
				{Name: "name", Before: `"web-2"`},
			}},
		},
		Hosts: []HostChange{{"canary-1", Destroy, "(canary)"}, {"web-1", Create, "(production)"}, {"web-2", Destroy, "(production)"}},
		Drift: []Change{{Address: `lab_host.this["web-1"]`, Type: "lab_host", Host: "web-1", Role: "production", Action: Destroy, Concern: core.ConcernGone, Attributes: []Attribute{
			{Name: "name", Before: `"web-1"`},
		}}},
		Outputs: []string{"capacity", "hosts"},
		Capacity: []Capacity{
			{Name: "large", Before: map[string]any{"hosts": 1.0}},
			{
				Name:   "small",
				Before: map[string]any{"hosts": 2.0, "zones": map[string]any{"a": 1.0, "b": 1.0}},
				After:  map[string]any{"hosts": 3.0, "zones": map[string]any{"a": 2.0, "b": 1.0}},
			},
		},
		Cost:  &Cost{Unknown: []string{"public addresses", "data to the internet"}}, // in no known region
		shown: got.shown,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if b, err := json.Marshal(got); err != nil || strings.Contains(string(b), "hunter") || strings.Contains(string(b), "s3cret") {
		t.Errorf("a sensitive value is shown: %s %v", b, err)
	}
}

func TestDigestOfPlan(t *testing.T) {
	first := readShown(t, shown).Digest
	if later := readShown(t, strings.Replace(shown, "2026-01-01", "2026-01-02", 1)).Digest; later != first {
		t.Error("the same plan, made later, has another digest")
	}
	if other := readShown(t, strings.Replace(shown, "hunter3", "hunter4", 1)).Digest; other == first {
		t.Error("a plan with another effect has the same digest")
	}
}

func TestEmptyPlan(t *testing.T) {
	p := readShown(t, `{"format_version": "1.2", "output_changes": {"hosts": {"actions": ["no-op"]}}}`)
	if !p.Empty() {
		t.Errorf("not empty: %+v", p)
	}
}

func TestFigures(t *testing.T) {
	was := map[string]any{"hosts": 3.0, "vcpus": 6.0, "zones": map[string]any{"eu-1a": 2.0, "eu-1b": 1.0}}
	will := map[string]any{"hosts": 3.0, "vcpus": 6.0, "zones": map[string]any{"eu-1a": 1.0, "eu-1b": 1.0, "eu-1c": 1.0}}
	tests := map[string]struct {
		c    Capacity
		want string
	}{
		"first": {Capacity{After: was}, "hosts 0 → 3, vcpus 0 → 6, zones eu-1a 0 → 2, zones eu-1b 0 → 1"},
		"moved": {Capacity{Before: was, After: will}, "hosts 3, vcpus 6, zones eu-1a 2 → 1, zones eu-1b 1, zones eu-1c 0 → 1"},
		"last":  {Capacity{Before: was}, "hosts 3 → 0, vcpus 6 → 0, zones eu-1a 2 → 0, zones eu-1b 1 → 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(tt.c.Figures(), ", "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// A plan of which only the output "hosts" changes says which hosts come and go; so does one that destroys everything.
func TestOnlyHostsChange(t *testing.T) {
	for after, want := range map[string][]string{
		`{"web-2": {"role": "production"}}`: {"- web-1 (production)", "+ web-2 (production)"},
		"null":                              {"- web-1 (production)"},
	} {
		p := readShown(t, `{"format_version": "1.2", "output_changes": {"hosts": {"actions": ["update"], "before": {"web-1": {"role": "production"}}, "after": `+after+`}}}`)
		if p.Empty() {
			t.Fatalf("nothing to change: %+v", p)
		}
		p.Origin = origin
		lines := strings.Join(reviewed(t, workspaceFor(t), p, core.Review{MaxDestroy: -1}).Lines(), "\n")
		for _, line := range want {
			if !strings.Contains(lines, line) {
				t.Errorf("want %q in\n%s", line, lines)
			}
		}
	}
}
