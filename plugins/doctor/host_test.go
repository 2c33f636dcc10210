package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// TestKilledByKernel has a host whose kernel kills a process of a session: an alert names the cgroup, and ends after a
// quiet time.
func TestKilledByKernel(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const session = "/user.slice/user-1000.slice/session-3.scope"
	kills := func(n int) { write("cg"+session+"/memory.events.local", fmt.Sprintf("low 0\noom_kill %d\n", n)) }
	write("proc/1/cgroup", "0::/init.scope\n")
	write("proc/self/mountinfo", "50 40 0:30 / "+root+"/cg rw,nosuid - cgroup2 cgroup2 rw\n")
	kills(3)
	o := &told{name: t.Name()}
	a, err := newAgent(filled(config{}), sdk.RunInfo{Host: "web-1", StateDir: t.TempDir()}, place{proc: filepath.Join(root, "proc"), etc: t.TempDir()}, o.add, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	kills(5)
	now := time.Now()
	a.ring(t.Context(), now, sample.Host{CPU: -1, Strain: sample.Strain{Killed: 2}})
	a.ring(t.Context(), now.Add(quietAfter-time.Second), sample.Host{})
	if got := o.kinds(); !slices.Equal(got, []string{"host.killed/alert"}) {
		t.Fatalf("published %v", got)
	}
	e := o.find("host.killed")
	if !strings.Contains(e.Summary, "the kernel killed 2 processes in "+session) || e.Data["unit"] != "session-3.scope" || !slices.Equal(e.Data["cgroups"].([]string), []string{session}) {
		t.Errorf("alert %q, %v", e.Summary, e.Data)
	}
	a.ring(t.Context(), now.Add(quietAfter), sample.Host{})
	if got := o.kinds(); !slices.Equal(got, []string{"host.killed/alert", "host.killed/resolved"}) {
		t.Errorf("after a quiet time: published %v", got)
	}
}
