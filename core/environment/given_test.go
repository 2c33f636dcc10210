package environment

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote/remotetest"
)

// given is an environment with a server that exists, and no module.
func (p *project) given(names ...core.HostName) (*Environment, *remotetest.Server) {
	p.Helper()
	first := p.open(p.options())
	client, err := first.SSH()
	if err != nil {
		p.Fatal(err)
	}
	s := remotetest.Listen(p.T, "127.0.0.1:0", client.PublicKey())
	for _, name := range names {
		h := s.Host(name)
		h.Roles, h.Given = []string{"production", "router"}, &core.Given{}
		h.Complete()
		p.lab().Hosts = append(p.lab().Hosts, h)
	}
	return p.open(p.options()), s
}

func TestGivenHosts(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	e, server := p.given("web-1")
	if hosts, err := e.Hosts(); err != nil || len(hosts) != 1 || hosts[0].Role != "router" {
		t.Errorf("before an apply: %+v, %v", hosts, err)
	}
	plan, err := e.ToApply(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	review, err := e.Review(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Join(review.Lines(), "\n")
	if want := "1 host is given: web-1 (production, router) 127.0.0.1\nenvironment lab: nothing to change"; lines != want {
		t.Errorf("plan:\n%s\nwant\n%s", lines, want)
	}
	// Nobody is asked twice, and not without saying the key.
	asked := 0
	no := errors.New("no")
	if err := e.Meet(t.Context(), func(string) error { return no }); !errors.Is(err, no) || !strings.Contains(err.Error(), "troop hosts accept web-1 --env lab") {
		t.Errorf("a key that is not trusted: %v", err)
	}
	for range 2 {
		if err := e.Meet(t.Context(), func(question string) error {
			asked++
			if !strings.Contains(question, "web-1 (127.0.0.1) shows the host key ssh-ed25519 SHA256:") {
				t.Error(question)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := e.HostKeys(t.Context(), p.lab().Hosts[0]); err != nil || asked != 1 || keys.Pinned != server.HostKey {
		t.Errorf("asked %d times, pinned %+v, %v", asked, keys, err)
	}
	if err := e.Apply(t.Context(), plan, func(core.Event) {}); err != nil {
		t.Fatal(err)
	}
	if got := p.exists(); !slices.Contains(got, "hosts.json") {
		t.Errorf("an apply has recorded %v", got)
	}
	if _, err := e.PlanDestroy(t.Context()); err == nil || !strings.Contains(err.Error(), "troop release-host HOST shop.hcl --env lab") {
		t.Errorf("destroy: %v", err)
	}
}

// A host that leaves the manifest still has what was put there.
func TestAGivenHostThatLeavesTheManifest(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	e, _ := p.given("web-1", "web-2")
	plan, err := e.Plan(t.Context())
	if err == nil {
		err = e.Apply(t.Context(), plan, func(core.Event) {})
	}
	if err != nil {
		t.Fatal(err)
	}
	p.lab().Hosts = p.lab().Hosts[:1]
	e = p.open(p.options())
	if plan, err = e.Plan(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = "web-2 is not in the manifest any more"
	if err := e.Apply(t.Context(), plan, func(core.Event) {}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "troop release-host web-2 shop.hcl --env lab") {
		t.Errorf("apply: %v", err)
	}
	if !strings.Contains(strings.Join(plan.Given, "\n"), want) {
		t.Errorf("plan: %q", plan.Given)
	}
	if err := e.ReleaseHost(t.Context(), "web-2", true); err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(t.Context(), plan, func(core.Event) {}); err != nil {
		t.Errorf("after its release: %v", err)
	}
	if hosts, err := e.Hosts(); err != nil || len(hosts) != 1 {
		t.Errorf("%+v, %v", hosts, err)
	}
}

func TestOnlyGivenHostsAreReleased(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.hosts(core.Host{Name: "web-1", Role: "production"})
	if err := p.open(p.options()).ReleaseHost(t.Context(), "web-1", false); err == nil || !strings.Contains(err.Error(), "web-1 was made by Terraform and goes with troop destroy shop.hcl --env lab") {
		t.Error(err)
	}
}

// What is in the way is said before the first task.
func TestConfigureInspectsGivenHosts(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	_, server := p.given("web-1")
	p.lab().Ansible = &core.AnsibleConfig{Playbook: "site.yml"}
	bin := filepath.Join(p.dir, "hostbin")
	p.write("hostbin/ss", "#!/bin/sh\necho 'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:((\"nginx\",pid=1,fd=6))'\n")
	server.Command = func(command string) string { return "PATH=" + bin + ":$PATH\n" + command }
	e := p.open(p.options())
	if err := e.Meet(t.Context(), func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var tasks int
	err := e.Configure(t.Context(), false, func(ev core.Event) {
		if ev.Kind == core.KindTask {
			tasks++
		}
	})
	if err == nil || !strings.Contains(err.Error(), "web-1 ports: in use: 80 by nginx, needed for HTTP") || tasks > 0 {
		t.Errorf("%d tasks, %v", tasks, err)
	}
	if _, err := os.Stat("/etc/troop/before"); err == nil {
		t.Error("the host was noted, which changes it")
	}
}
