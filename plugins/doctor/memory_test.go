package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// TestMemoryHogs has a process with too much memory, and several that have too much together: each ends, as one patient.
// A small one of the same user lives on.
func TestMemoryHogs(t *testing.T) {
	take := func(mib string) string {
		return "/usr/bin/python3 -c \"import time; x = b'x' * (" + mib + " << 20); time.sleep(600)\""
	}
	for name, test := range map[string]struct{ script, who string }{
		"one":     {"exec " + take("200"), "of hog uses"},
		"several": {"for i in 1 2 3 4 5; do " + take("50") + " & done; wait", "the processes of hog"},
	} {
		t.Run(name, func(t *testing.T) {
			swarm(t, hogUID, 1, "/bin/sh", "sleep 600; :")
			swarm(t, hogUID, 1, "/bin/sh", test.script)
			total := newTestAgent(t, config{}, "production")
			if err := total.Tick(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			h, err := total.meter.Read(t.Context(), time.Now(), nil)
			if err != nil {
				t.Fatal(err)
			}
			c := together
			c.Treat = []string{"alert", "renice", "limit", "terminate", "kill"}
			c.Memory = &memoryLimit{Above: 100 * float64(120<<20) / float64(h.MemoryTotal), For: sdk.Duration(time.Second)}
			a, o := startDoctor(t, c, "production")
			a.sampler = onlyUser{a.sampler, hogUID}
			left := func() (n int) {
				for _, line := range commands(living(t, hogUID)) {
					if strings.Contains(line, "python3 -c") && !strings.Contains(line, "/bin/sh") {
						n++
					}
				}
				return n
			}
			for deadline := time.Now().Add(patience); time.Now().Before(deadline) && o.find("process.terminated") == nil; time.Sleep(a.interval) {
				if err := a.Tick(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := o.kinds(), []string{"process.hog/alert", "process.terminated/warning"}; !slices.Equal(got, want) || !strings.Contains(o.events[0].Summary, test.who) {
				t.Fatalf("published %v: %v; want %v", got, o.events, want)
			}
			for deadline := time.Now().Add(patience); left() > 2 && time.Now().Before(deadline); time.Sleep(a.interval) {
				continue // they end
			}
			if n := left(); n > 2 {
				t.Errorf("%d are left", n)
			}
			if list := commands(living(t, hogUID)); !slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "sleep 600; :") }) {
				t.Errorf("the small one has ended; left: %v", list)
			}
		})
	}
}
