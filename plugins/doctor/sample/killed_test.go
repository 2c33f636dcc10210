package sample

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestKillings has hosts whose kernel kills processes in some cgroups: those are named, and not the ones around them.
func TestKillings(t *testing.T) {
	const session, shop = "/user.slice/user-1000.slice/session-3.scope", "/system.slice/shop@a.service"
	for name, file := range map[string]string{"v2": "memory.events.local", "v2, an older kernel": "memory.events", "v1": "memory.oom_control"} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			set := func(cgroup string, kills int) {
				t.Helper()
				dir := filepath.Join(root, cgroup)
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), fmt.Appendf(nil, "low 0\noom 7\noom_kill %d\n", kills), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			set("/", 1)
			set("/user.slice", 1)
			set(session, 1)
			set(shop, 5)
			v2, v1 := cgroup2{root}, map[string]string{}
			if name == "v1" {
				v2, v1 = cgroup2{t.TempDir()}, map[string]string{"memory": root}
			}
			k := newKillings(v2, v1)
			if got := k.since(); len(got) != 0 {
				t.Errorf("nothing was killed: %v", got)
			}
			if file == "memory.events" { // it counts what happened below
				set("/", 2)
				set("/user.slice", 2)
			}
			set(session, 2)
			set("/system.slice/new.service", 1)
			if got, want := k.since(), []string{"/system.slice/new.service", session}; !slices.Equal(got, want) {
				t.Errorf("killed in %v, want %v", got, want)
			}
			if err := os.RemoveAll(filepath.Join(root, session)); err != nil {
				t.Fatal(err)
			}
			if got := k.since(); len(got) != 0 {
				t.Errorf("nothing more was killed: %v", got)
			}
		})
	}
	if got := newKillings(cgroup2{}, nil).since(); len(got) != 0 {
		t.Errorf("without cgroups: %v", got)
	}
}
