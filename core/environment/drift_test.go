package environment

import (
	"slices"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/terraform"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	one := []core.Difference{{Layer: "ansible", What: "a task"}}
	for name, tt := range map[string]struct {
		host core.HostDrift
		lost bool
		want core.HostStatus
	}{
		"nothing":            {core.HostDrift{}, false, core.HostUnchanged},
		"a difference":       {core.HostDrift{Differences: one}, false, core.HostDrifted},
		"no answer":          {core.HostDrift{Status: core.HostUnreachable, Differences: one}, false, core.HostUnreachable},
		"missed and silent":  {core.HostDrift{Status: core.HostUnreachable}, true, core.HostGone},
		"missed and answers": {core.HostDrift{Differences: one}, true, core.HostDrifted},
		"check failed":       {core.HostDrift{Status: core.HostUnchecked}, true, core.HostUnchecked},
	} {
		tt.host.Host = "web-1"
		c := driftCheck{report: &core.Drift{Hosts: []core.HostDrift{tt.host}}, lost: map[core.HostName]bool{"web-1": tt.lost}}
		c.judge()
		if got := c.report.Hosts[0].Status; got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	r := &core.Drift{Hosts: []core.HostDrift{
		{Status: core.HostDrifted, Differences: slices.Clone(one)},
		{Status: core.HostDrifted, Differences: []core.Difference{one[0], {Layer: "installed", What: "a file"}}},
		{Status: core.HostUnreachable, Differences: slices.Clone(one)},
	}}
	ignorePending(r)
	if got := r.Drifted(); len(got) != 2 || len(got[0].Differences) != 1 || got[1].Status != core.HostUnreachable {
		t.Errorf("without what is pending: %+v", got)
	}
}

func TestDriftOfResources(t *testing.T) {
	t.Parallel()
	c := driftCheck{report: &core.Drift{Hosts: []core.HostDrift{{Host: "web-1"}, {Host: "web-2"}}}, lost: map[core.HostName]bool{}}
	c.resources([]terraform.Change{
		{Address: "lab_host.web-1", Host: "web-1", Action: terraform.Update, Attributes: []terraform.Attribute{{Name: "memory", Before: "1", After: "2"}}},
		{Address: "lab_host.web-2", Host: "web-2", Action: terraform.Destroy},
		{Address: "aws_vpc.x", Action: terraform.Destroy},
	})
	if got := c.report.Hosts[0].Differences; len(got) != 1 || got[0].String() != "lab_host.web-1: memory: 1 → 2" || c.lost["web-1"] {
		t.Errorf("web-1: %+v", got)
	}
	if got := c.report.Hosts[1].Differences; len(got) != 1 || got[0].String() != "lab_host.web-2: it no longer exists" || !c.lost["web-2"] {
		t.Errorf("web-2: %+v", got)
	}
	if got := c.report.Resources; len(got) != 1 || got[0].What != "aws_vpc.x" {
		t.Errorf("of no host: %+v", got)
	}
}

func TestStopAtDriftBeforeThereAreHosts(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.lab().Terraform = &core.TerraformConfig{Module: "lab"}
	var summaries []string
	emit := func(e core.Event) { summaries = append(summaries, e.Summary) }
	if err := p.open(p.options()).stopAtDrift(t.Context(), false, emit); err != nil || len(summaries) > 0 {
		t.Errorf("without a rule: %v, %q", err, summaries)
	}
	p.lab().Terraform.Review.Drift = core.StopAtDrift
	err := p.open(p.options()).stopAtDrift(t.Context(), false, emit)
	if err != nil || !slices.Equal(summaries, []string{"drift: not checked, there are no hosts yet"}) {
		t.Errorf("without hosts: %v, %q", err, summaries)
	}
	if got := p.exists(); len(got) > 0 {
		t.Errorf("made %v", got)
	}
}
