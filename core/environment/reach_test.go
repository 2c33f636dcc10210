package environment

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote"
)

// reaches waits for the recorded hosts, and returns the names of those that are left out.
func (p *project) reaches(patience time.Duration) (away string, warnings []string, err error) {
	p.Helper()
	o := p.options()
	o.patience = patience
	e := p.open(o)
	s, err := e.open()
	if err != nil {
		p.Fatal(err)
	}
	err = e.reach(p.Context(), s, func(e core.Event) {
		if e.Severity == core.Warning {
			warnings = append(warnings, e.Summary)
		}
	})
	if err == nil {
		err = e.noteConfigured(s)
	}
	var names []string
	for _, h := range s.hosts {
		if s.away[h.Name] != nil {
			names = append(names, string(h.Name))
		}
	}
	return strings.Join(names, " "), warnings, err
}

// TestReach has a canary host that does not answer: before and after it was configured, and after it was replaced.
func TestReach(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	e := p.open(p.options())
	_, web, _ := p.serve(e, "web-1", "production")
	_, canary, _ := p.serve(e, "canary-1", "canary")
	replaced := canary
	replaced.PrivateAddress = "10.0.0.2"
	p.hosts(web, canary)
	dead := canary
	dead.Port = 1 // nobody listens there
	p.hosts(web, dead)
	if _, _, err := p.reaches(5 * time.Second); err == nil || !strings.Contains(err.Error(), "wait for SSH on canary-1") {
		t.Errorf("a first configuration without a host: %v", err)
	}
	p.hosts(web, canary)
	if away, _, err := p.reaches(hostsWait); err != nil || away != "" {
		t.Fatalf("all are there: %q, %v", away, err)
	}
	p.hosts(web, dead)
	away, warnings, err := p.reaches(hostsWait / 2)
	if err != nil || away != "canary-1" || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "canary-1 cannot be reached and is left out until a later run reaches it: ") {
		t.Errorf("a canary that was configured: %q, %q, %v", away, warnings, err)
	}
	replaced.Port = 1
	p.hosts(web, replaced)
	if _, _, err := p.reaches(5 * time.Second); err == nil {
		t.Error("a new host was left out")
	}
	p.hosts(web, canary)
	if away, _, err := p.reaches(hostsWait); err != nil || away != "" {
		t.Errorf("it is back: %q, %v", away, err)
	}
}

// TestNeeded says which hosts a configuration cannot do without.
func TestNeeded(t *testing.T) {
	t.Parallel()
	s := &site{configured: map[core.HostName]string{}, away: map[core.HostName]error{"web-3": errors.New("left out before")}}
	for name, role := range map[core.HostName]string{
		"web-1": "production", "web-2": "production", "web-3": "production", "new": "production",
		"canary-1": "canary", "router-1": "router", "router-2": "router", "storage-1": "storage",
	} {
		h := core.Host{Name: name, Role: role, PrivateAddress: "10.0.0.1"}
		s.hosts = append(s.hosts, h)
		if name != "new" {
			s.configured[name] = identity(h)
		}
	}
	for gone, want := range map[string]string{
		"": "", "web-1": "", "canary-1": "", "web-1 canary-1": "",
		"web-1 web-2":     "",
		"web-1 web-2 new": "new web-1 web-2",
		"new":             "new",
		"router-1":        "router-1",
		"storage-1":       "storage-1",
	} {
		missing := map[core.HostName]error{}
		for h := range strings.FieldsSeq(gone) {
			missing[core.HostName(h)] = errors.New("no route to host")
		}
		var got []string
		for _, h := range s.needed(missing) {
			got = append(got, string(h.Name))
		}
		slices.Sort(got)
		if g := strings.Join(got, " "); g != want {
			t.Errorf("without %q: %q is needed, want %q", gone, g, want)
		}
	}
}

func TestPresent(t *testing.T) {
	t.Parallel()
	s := &site{hosts: []core.Host{{Name: "web-1"}, {Name: "canary-1"}}}
	if got, ok := s.present(nil); !ok || got != nil {
		t.Errorf("all: %v, %v", got, ok)
	}
	s.away = map[core.HostName]error{"canary-1": errors.New("no route to host")}
	if got, ok := s.present(nil); !ok || !slices.Equal(got, []core.HostName{"web-1"}) {
		t.Errorf("all but one: %v, %v", got, ok)
	}
	if got, ok := s.present([]core.HostName{"canary-1"}); ok || len(got) > 0 {
		t.Errorf("none: %v, %v", got, ok)
	}
	lost := &ansible.Error{Failed: []core.TaskResult{{Host: "web-1", Status: "unreachable", Message: "lost"}}}
	if got := unreachable(lost); len(got) != 1 || got["web-1"] == nil {
		t.Errorf("unreachable: %v", got)
	}
	lost.Failed = append(lost.Failed, core.TaskResult{Host: "canary-1", Status: "failed"})
	if got := unreachable(lost); len(got) > 0 {
		t.Errorf("a failed task, too: %v", got)
	}
	if _, only := remote.Away(errors.New("other")); only {
		t.Error("another error is taken for a host that is away")
	}
}
