package project

import (
	"slices"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

// TestRunArguments holds that a run on this machine is asked for with all that somebody chose.
func TestRunArguments(t *testing.T) {
	t.Parallel()
	o := core.RunOptions{ID: "01", Commit: "abc", Branch: "main", Tag: "v1", Environment: "lab", Until: "deploy", From: "test.unit", Force: true}
	want := []string{
		"run", "p.hcl", "--local", "--commit", "abc", "--id", "01", "--branch", "main", "--tag", "v1", "--env", "lab",
		"--until", "deploy", "--from", "test.unit", "--state", "/s", "--force",
	}
	if got := RunArguments("p.hcl", o, Options{State: "/s"}); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
