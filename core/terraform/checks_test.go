package terraform

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

// What fails or is deferred is a warning of the plan, without secrets; what passes or is not known yet is none.
func TestWarnings(t *testing.T) {
	text := strings.Replace(shown, `"resource_changes"`, `
  "checks": [
    {"address": {"kind": "check", "name": "replicas", "to_display": "check.replicas"}, "status": "fail",
     "instances": [{"address": {"to_display": "check.replicas"}, "status": "fail", "problems": [{"message": "two are\nwanted, not manifest-secret"}]}]},
    {"address": {"kind": "check", "name": "certificate", "to_display": "check.certificate"}, "status": "error", "instances": []},
    {"address": {"kind": "check", "name": "fine", "to_display": "check.fine"}, "status": "pass"},
    {"address": {"kind": "resource", "to_display": "lab_host.this"}, "status": "unknown"}
  ],
  "deferred_changes": [{"reason": "provider_config_unknown", "resource_change":
    {"address": "aws_eip.later", "mode": "managed", "type": "aws_eip", "change": {"actions": ["create"], "after": {}}}}],
  "resource_changes"`, 1)
	p := readShown(t, text)
	want := []string{
		"check.replicas: two are wanted, not ***",
		"check.certificate: the check could not be made",
		"aws_eip.later waits for another plan after this one: provider config unknown",
	}
	if !slices.Equal(p.Warnings, want) {
		t.Errorf("got %q", p.Warnings)
	}
	p.Origin = origin
	r := reviewed(t, workspaceFor(t), p, core.Review{MaxDestroy: -1})
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		if !slices.Contains(r.Lines(), "warning: "+w) || !strings.Contains(string(page), w) {
			t.Errorf("text or page do not say %q", w)
		}
	}
}
