package core_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

func TestDriftReport(t *testing.T) {
	t.Parallel()
	d := &core.Drift{Environment: "lab", Hosts: []core.HostDrift{{Host: "web-1", Role: "production", Status: core.HostUnchanged}}}
	if got := d.Lines(); !d.Empty() || !slices.Equal(got, []string{"environment lab: no drift on 1 hosts"}) {
		t.Errorf("%q", got)
	}
	d.Pending = "playbooks have changed"
	d.Hosts = append(d.Hosts,
		core.HostDrift{Host: "web-2", Role: "canary", Status: core.HostDrifted, Differences: []core.Difference{
			{Layer: "ansible", What: "a task", Detail: "file", Path: "main.yml:3"}, {Layer: "installed", What: "a file"},
		}},
		core.HostDrift{Host: "web-3", Role: "canary", Status: core.HostGone, Reason: "no answer"})
	d.Resources = []core.Difference{{Layer: "terraform", What: "aws_vpc.x", Detail: "it is gone"}}
	want := []string{
		"some differences may be changes not yet applied: playbooks have changed",
		"web-2 (canary): drifted", "  ansible    a task: file (main.yml:3)", "  installed  a file",
		"web-3 (canary): gone: no answer", "aws_vpc.x: it is gone",
		"environment lab has drifted: web-2 is drifted, web-3 is gone, 1 changes to resources of no host",
	}
	if got := d.Lines(); d.Empty() || !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestDriftByWeight: an opened port and a terminated instance are the first two lines, whatever else has changed.
func TestDriftByWeight(t *testing.T) {
	t.Parallel()
	d := &core.Drift{Environment: "lab", Pending: "playbooks have changed", Hosts: []core.HostDrift{
		{Host: "web-1", Role: "production", Status: core.HostGone, Differences: []core.Difference{
			{Layer: "terraform", What: "a tag", Concern: core.ConcernTags}, {Layer: "terraform", What: "web-1", Detail: "it no longer exists", Concern: core.ConcernGone},
		}},
	}}
	d.Resources = []core.Difference{{Layer: "terraform", What: "0.0.0.0/0 may reach storage-1 on 6379/tcp", Concern: core.ConcernAccess}}
	d.Computed = []core.Difference{{Layer: "terraform", What: "aws_eip.x", Detail: "public_dns"}}
	want := []string{
		"! 0.0.0.0/0 may reach storage-1 on 6379/tcp", "! web-1: it no longer exists",
		"some differences may be changes not yet applied: playbooks have changed",
		"web-1 (production): gone", "  terraform  a tag",
		"1 values that the provider computes have changed; -v lists them",
		"environment lab has drifted: web-1 is gone, 1 changes to resources of no host",
	}
	if got := d.Lines(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := d.Verbose(); got[0] != "computed  aws_eip.x: public_dns" {
		t.Errorf("%q", got)
	}
	if only := (&core.Drift{Computed: d.Computed}); !only.Empty() {
		t.Error("a computed value is drift")
	}
}

func TestHolder(t *testing.T) {
	t.Parallel()
	since := time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)
	for want, h := range map[string]core.Holder{
		"somebody": {What: "somebody"},
		"troop apply (process 7, since 2030-01-02 03:04:05)":        {What: "troop apply", PID: 7, Since: since},
		"run 01R, troop run (process 7, since 2030-01-02 03:04:05)": {What: "troop run", Run: "01R", PID: 7, Since: since},
	} {
		if got := h.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	e := core.Complete(core.Event{Summary: "x"})
	if e.ID == "" || time.Since(e.Time) > time.Minute || e.Severity != core.Info || e.Summary != "x" {
		t.Errorf("%+v", e)
	}
	if again := core.Complete(e); again.ID != e.ID || !again.Time.Equal(e.Time) {
		t.Errorf("completed again: %+v", again)
	}
	given := core.Complete(core.Event{ID: "1", Time: time.Unix(1, 0), Severity: core.Alert})
	if given.ID != "1" || given.Time.Unix() != 1 || given.Severity != core.Alert {
		t.Errorf("a given field was overwritten: %+v", given)
	}
}

func TestPipelineEnvironment(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		there   []string
		asked   string
		want    string // or the error
		missing bool
	}{
		"by name":      {[]string{"lab", "production"}, "production", "production", false},
		"the only one": {[]string{"lab"}, "", "lab", false},
		"several":      {[]string{"lab", "production"}, "", "p.hcl has several environments; choose one with --env: lab, production", false},
		"none":         {nil, "", "p.hcl has no environment block", false},
		"misspelt":     {[]string{"lab"}, "lba", "environment lba not found; did you mean lab?", true},
		"of none":      {nil, "lab", "environment lab not found; there is none", true},
	} {
		p := &core.Pipeline{File: "p.hcl"}
		for _, n := range tt.there {
			p.Environments = append(p.Environments, core.Environment{Name: n})
		}
		e, err := p.Environment(tt.asked)
		got := e.Name
		if err != nil {
			got = err.Error()
		}
		if got != tt.want || errors.As(err, new(*core.NotFoundError)) != tt.missing {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}
