//go:build lab

package terraform_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	rounds = flag.Int("rounds", 5, "how many applies TestRounds kills")
	seed   = flag.Uint64("seed", 1, "of what TestRounds does at random")
)

const providerProgram = "terraform-provider-lab_v0.1.0"

// TestRounds repeatedly kills Terraform, its provider or the parent process during an apply, lets the next command
// repair the result, and compares hosts and state with the configuration. The seed determines everything except the
// exact moment of a kill.
func TestRounds(t *testing.T) {
	l := newLab(t)
	dice := rand.New(rand.NewPCG(*seed, 0))
	t.Logf("%d rounds, seed %d", *rounds, *seed)
	had := l.tiny(dice, nil)
	l.apply(l.open(had))

	span := map[bool]time.Duration{false: time.Second, true: time.Second} // duration of an apply or a destroy on this machine
	killed, tries := map[string]int{}, 0
	for n := 0; n < *rounds; tries++ {
		if tries > 4**rounds {
			t.Fatalf("only %d of %d kills came in time", n, tries)
		}
		wanted := l.tiny(dice, had)
		destroy := dice.IntN(5) == 0
		victim := []string{"terraform", providerProgram, "engine"}[dice.IntN(3)]
		after := time.Duration(dice.Float64() * float64(span[destroy]))
		hit, took := l.strike(wanted, destroy, victim, after)
		if hit {
			n++
			killed[victim]++
			span[destroy] = max(span[destroy], took) * 5 / 4 // grows until a kill comes too late
		} else {
			span[destroy] = took
		}
		l.logged = nil
		began := time.Now()
		l.apply(l.open(wanted))
		t.Logf("round %d: %s, destroy %t, killed %t after %s; repaired in %s", n, victim, destroy, hit,
			after.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		l.check(wanted)
		if t.Failed() {
			t.Fatalf("in round %d, after: %s", n, strings.Join(l.logged, "\n"))
		}
		had = wanted
	}
	t.Logf("%d kills %v in %d tries", *rounds, killed, tries)
}

// tiny generates a configuration with other hosts than the last one.
func (l *testLab) tiny(dice *rand.Rand, last map[string]any) map[string]any {
	for {
		hosts := map[string]any{}
		for _, name := range []string{"web-1", "web-2", "web-3"} {
			if dice.IntN(3) > 0 {
				memory := []string{"128MiB", "160MiB"}[dice.IntN(2)] // a change replaces the host
				hosts[name] = map[string]any{"role": "production", "memory": memory, "disk": "256MiB"}
			}
		}
		now := map[string]any{"hosts": hosts}
		if len(hosts) > 0 && fmt.Sprint(now) != fmt.Sprint(last) {
			return now
		}
	}
}

// strike applies a configuration, or destroys everything, and kills the victim meanwhile. It reports whether the kill
// came in time, and the total duration.
func (l *testLab) strike(variables map[string]any, destroy bool, victim string, after time.Duration) (hit bool, took time.Duration) {
	l.t.Helper()
	e := l.engine(variables)
	e.Destroy = destroy
	cmd, applying := e.start(l.t)
	<-applying
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-time.After(after):
		pid := cmd.Process.Pid
		if victim != "engine" {
			pid = l.processOf(victim)
		}
		if pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		err = <-ended
	}
	took = time.Since(began)
	for deadline := time.Now().Add(10 * time.Second); l.processOf("terraform")+l.processOf(providerProgram) != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("terraform or its provider outlives a killed %s", victim)
		}
	}
	return err != nil, took
}

// check compares the existing hosts with the configuration and the state.
func (l *testLab) check(variables map[string]any) {
	l.t.Helper()
	wanted := slices.Sorted(maps.Keys(variables["hosts"].(map[string]any)))
	w := l.open(variables)
	p, err := w.Plan(l.t.Context())
	if err != nil || !p.Empty() {
		l.t.Errorf("plan: %+v, %v", p, err)
	}
	var inState []string
	for _, r := range state(l.t, w).Resources {
		if r.Type == "lab_host" {
			inState = append(inState, string(r.Host))
		}
	}
	if !slices.Equal(inState, wanted) {
		l.t.Errorf("hosts in the state %v, want %v", inState, wanted)
	}
	var running []string
	count := map[string]int{}
	for _, x := range l.things() {
		if x.Host == "" {
			count[x.Kind]++
		} else if !slices.Contains(wanted, x.Host) {
			l.t.Errorf("left behind: %+v", x)
		}
		if x.Kind == "process" && strings.Contains(x.Name, " systemd-nspawn ") {
			running = append(running, x.Host)
		}
	}
	if slices.Sort(running); !slices.Equal(running, wanted) {
		l.t.Errorf("hosts that run %v, want %v", running, wanted)
	}
	// The bridge and one veth per host; the disks are mounted only in the hosts' namespaces.
	if count["link"] != 1+len(wanted) || count["loop"] != len(wanted) || count["mount"] != 0 || count["folder"] != 1 {
		l.t.Errorf("of the lab itself there are %v, want %d links and %d loops", count, 1+len(wanted), len(wanted))
	}
	hosts, err := w.Hosts(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, h := range hosts {
		l.run(h, "true")
	}
}

// processes lists the lab's processes in any cgroup, found by their arguments.
func (l *testLab) processes() []string {
	l.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		l.t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		b, _ := os.ReadFile(file)
		if text := strings.ReplaceAll(string(b), "\x00", " "); strings.Contains(text, "/troop/lab/"+l.id()+"/") {
			found = append(found, text)
		}
	}
	return found
}
