package ansible_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote/remotetest"
)

func TestFingerprint(t *testing.T) {
	t.Parallel()
	r, conf := environment(t, "web-1", "storage-1")
	run := ansible.Run{Playbook: "site.yml", Vars: map[string]any{"a": 1}, Inputs: []core.Digest{"sha256:1"}}
	base, err := r.Fingerprint(run)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := runner(t, conf).Fingerprint(run); again != base || err != nil {
		t.Errorf("same inputs: %s, %v; want %s", again, err, base)
	}
	held := conf
	held.Holder = func() (int64, error) { return 7, nil }
	if again, err := runner(t, held).Fingerprint(run); again != base || err != nil {
		t.Errorf("another holder: %s, %v; want %s", again, err, base)
	}
	for name, change := range map[string]func(*ansible.Config, *ansible.Run){
		"playbook":      func(_ *ansible.Config, x *ansible.Run) { x.Playbook = "agent.yml" },
		"team playbook": func(_ *ansible.Config, x *ansible.Run) { x.Playbook = "./slow.yml" },
		"variable":      func(_ *ansible.Config, x *ansible.Run) { x.Vars = map[string]any{"a": 2} },
		"input":         func(_ *ansible.Config, x *ansible.Run) { x.Inputs = []core.Digest{"sha256:2"} },
		"limit":         func(_ *ansible.Config, x *ansible.Run) { x.Hosts = []core.HostName{"web-1"} },
		"shared":        func(c *ansible.Config, _ *ansible.Run) { c.Vars = map[string]any{"b": true} },
		"host": func(c *ansible.Config, _ *ansible.Run) {
			c.Hosts = slices.Clone(c.Hosts)
			c.Hosts[0].PrivateAddress = "10.9.9.9"
		},
		"shipped": func(c *ansible.Config, _ *ansible.Run) {
			c.Playbooks = os.DirFS("testdata")
			_ = os.MkdirAll(c.Dir, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, x := conf, run
			x.Vars = maps.Clone(run.Vars)
			change(&c, &x)
			if name == "shipped" {
				x.Playbook = "slow.yml"
			}
			got, err := runner(t, c).Fingerprint(x)
			if err != nil || got == base {
				t.Errorf("%s did not change the fingerprint (%v)", name, err)
			}
		})
	}
}

func TestUnchanged(t *testing.T) {
	t.Parallel()
	_, conf := environment(t, "web-1", "storage-1")
	roots := map[core.HostName]string{}
	for i, h := range conf.Hosts {
		s := remotetest.Listen(t, "127.0.0.1:0", conf.SSH.PublicKey())
		root := t.TempDir()
		s.Command = func(command string) string { return strings.ReplaceAll(command, "/etc/troop", root) }
		conf.Hosts[i], roots[h.Name] = s.Host(h.Name), root
		conf.Hosts[i].Role = h.Role
	}
	r := runner(t, conf)
	t.Cleanup(func() { _ = conf.SSH.Close() })
	run := ansible.Run{Name: "it's mine", Playbook: "./slow.yml", Vars: map[string]any{"seconds": 0}, Healthy: "test ! -e /etc/troop/sick"}

	expect := func(want bool, reason string) {
		t.Helper()
		if ok, why := r.Unchanged(t.Context(), run); ok != want || !strings.Contains(why, reason) {
			t.Errorf("Unchanged = %v, %q; want %v, %q", ok, why, want, reason)
		}
	}
	expect(false, "no finished run")
	if err := r.Record(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	expect(true, "all hosts")
	if _, err := r.Run(t.Context(), ansible.Run{Name: run.Name, Playbook: run.Playbook, Vars: run.Vars, Check: true}, nil); err != nil {
		t.Fatal(err)
	}
	expect(true, "all hosts")
	run.Vars = map[string]any{"seconds": 0.1}
	expect(false, "have changed")
	run.Vars = map[string]any{"seconds": 0}

	sick := filepath.Join(roots["storage-1"], "sick")
	if err := os.WriteFile(sick, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(false, "storage-1")
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	expect(true, "all hosts")
	if err := os.RemoveAll(filepath.Join(roots["web-1"], "fingerprints")); err != nil {
		t.Fatal(err)
	}
	expect(false, "web-1")
	if err := r.Record(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	expect(true, "all hosts")
	if _, err := r.Run(t.Context(), run, nil); err != nil {
		t.Fatal(err)
	}
	expect(false, "no finished run") // the caller has not recorded it
}
