package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// TestModel plays random hosts: processes of protected and of other users, hogs of every kind, and innocents, through the
// accounts, the windows, the rules and the ladder. A step against a process that is no part of a hog, or that is
// protected, is a wrong act: there is none. Every hog that is not protected ends within the window and ten seconds.
// TROOP_ROUNDS and TROOP_ROUNDS_SEED choose the rounds.
func TestModel(t *testing.T) {
	number := func(name string, otherwise int) int {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return n
		}
		return otherwise
	}
	rounds, first := number("TROOP_ROUNDS", 10_000), number("TROOP_ROUNDS_SEED", int(time.Now().Unix()))
	t.Logf("TROOP_ROUNDS_SEED=%d", first)
	accounts := modelAccounts(t)
	hogs, acts := 0, 0
	for seed := first; seed < first+rounds; seed++ {
		w := newWorld(uint64(seed), accounts)
		for range 45 {
			w.second()
			if w.wrong != "" {
				t.Fatalf("TROOP_ROUNDS_SEED=%d, second %d: %s", seed, w.now, w.wrong)
			}
		}
		for _, p := range w.procs {
			if p.hog && !p.protected && !p.dead {
				t.Fatalf("TROOP_ROUNDS_SEED=%d: %s still runs after %d s as a %s of %v", seed, p.id, w.now-p.since, p.kind, p.facts.UIDs[0])
			}
			if p.hog && !p.protected && p.ended-p.since > modelWindow+10 {
				t.Fatalf("TROOP_ROUNDS_SEED=%d: %s ended %d s after it began as a %s, want %d at the most", seed, p.id, p.ended-p.since, p.kind, modelWindow+10)
			}
			if p.hog && !p.protected {
				hogs++
			}
		}
		acts += w.acts
	}
	t.Logf("%d hosts, %d hogs ended by %d acts, 0 wrong", rounds, hogs, acts)
}

const modelWindow = 10 // seconds

func modelAccounts(t *testing.T) *protect.Accounts {
	t.Helper()
	etc := t.TempDir()
	for name, text := range map[string]string{
		"passwd":  "root:x:0:0::/:/bin/sh\napp:x:990:990::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\ncat:x:1002:1002::/:/bin/sh\neve:x:1003:1003::/:/bin/sh\n",
		"group":   "sudo:x:27:ann\n",
		"sudoers": "root ALL=(ALL) ALL\neve ALL=(ALL) ALL\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := protect.ReadAccounts(etc, etc)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// modelProcess is a process of a modelled host.
type modelProcess struct {
	id             process.Ident
	ppid           int
	facts          process.Facts
	kind           string
	rate           float64 // of one core
	swarm          bool    // it spends by children that live for a moment
	traps          bool    // ignores SIGTERM
	hog, protected bool
	since, ended   int
	cpu, children  time.Duration
	dead           bool
}

// world is a modelled host with a doctor.
type world struct {
	*rand.Rand
	now      int
	procs    []*modelProcess
	ledger   *sample.Ledger
	windows  *limit.Windows
	policy   *ladder.Policy
	guard    *protect.Guard
	accounts *protect.Accounts
	acts     int
	wrong    string
}

func newWorld(seed uint64, accounts *protect.Accounts) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7)), accounts: accounts}
	c := filled(config{Treat: []string{"alert", "terminate", "kill"}, Budget: &budgetConfig{Actions: 100, Per: sdk.Duration(10 * time.Minute)}})
	w.guard = &protect.Guard{Accounts: func() (*protect.Accounts, error) { return accounts, nil }, Self: protect.Self{PID: 5, Ancestors: []int{1}}}
	w.ledger = sample.NewLedger(modelWindow*time.Second, "", accounts.Ordinary)
	w.windows = limit.NewWindows(c.limits(), limit.Readers{})
	w.policy = ladder.New(c.policy("production"), w.guard, ladder.Memory{})
	users := []uint32{0, 990, 1000, 1001, 1001, 1002, 1002, 1003, 4711}
	calm := map[uint32]float64{}
	began := map[uint32]bool{} // one kind of hog for each user
	for n := range 2 + w.IntN(12) {
		uid := users[w.IntN(len(users))]
		protected := uid != 1001 && uid != 1002
		if w.IntN(3) == 0 && !began[uid] {
			began[uid] = true
			w.addHog(uid, protected)
			continue
		}
		rate := w.Float64() * 0.12
		if calm[uid] += rate; calm[uid] > 0.5 { // more would be a hog together
			rate = 0
		}
		p := w.add(uid, "innocent", rate)
		p.protected = protected
		if n == 0 { // a login shell that waits
			p.facts.Executable, p.facts.RootOwned, p.facts.Leader, p.rate, p.protected = "/usr/bin/bash", true, true, 0, true
			p.facts.Chain = []process.Ancestor{{PID: 3, Executable: "/usr/sbin/sshd", RootOwned: true}, {PID: 1}}
		}
	}
	w.Shuffle(len(w.procs), func(i, k int) { w.procs[i], w.procs[k] = w.procs[k], w.procs[i] })
	return w
}

func (w *world) add(uid uint32, kind string, rate float64) *modelProcess {
	pid := 100 + 2*len(w.procs)
	p := &modelProcess{id: process.Ident{PID: pid, Start: uint64(pid)}, ppid: 1, kind: kind, rate: rate}
	p.facts = process.Facts{
		Ident: p.id, PPID: 1, Executable: "/home/x/" + kind + strconv.Itoa(pid), UIDs: []uint32{uid, uid, uid, uid},
		GIDs: []uint32{uid, uid, uid, uid}, State: "S", Chain: []process.Ancestor{{PID: 1}},
	}
	w.procs = append(w.procs, p)
	return p
}

// addHog adds one of the kinds of hogs.
func (w *world) addHog(uid uint32, protected bool) {
	since := w.IntN(8)
	mark := func(p *modelProcess) *modelProcess {
		p.hog, p.protected, p.since = true, protected, since
		return p
	}
	switch w.IntN(6) {
	case 0:
		mark(w.add(uid, "spinner", 1))
	case 1:
		mark(w.add(uid, "spinner that traps TERM", 1)).traps = true
	case 2:
		mark(w.add(uid, "swarm", 0.9+w.Float64())).swarm = true
	case 3:
		same := w.IntN(2) == 0
		for range 6 {
			if p := mark(w.add(uid, "spinner that shares a core", 0.95/6)); same {
				p.facts.Executable = "/usr/bin/stress"
			}
		}
	case 4:
		for range 2 + w.IntN(6) {
			mark(w.add(uid, "spinner beside others", 1)).traps = w.IntN(2) == 0
		}
	case 5:
		parent := 0
		for range 40 {
			p := mark(w.add(uid, "fork bomb", 0.03))
			p.facts.Executable = "/usr/bin/bash"
			if parent > 0 {
				p.ppid = parent
			}
			parent = p.id.PID
		}
	}
}

// second lets a second pass, and has the doctor look.
func (w *world) second() {
	w.now++
	at := time.Unix(int64(1_000_000+w.now), 0)
	s := sample.Sample{Time: at}
	for _, p := range w.procs {
		if p.dead {
			continue
		}
		if !p.hog || w.now > p.since {
			spent := time.Duration(p.rate * (0.97 + 0.06*w.Float64()) * float64(time.Second))
			if p.swarm {
				p.cpu += spent / 50
				p.children += spent
			} else {
				p.cpu += spent
			}
		}
		uid := p.facts.UIDs[0]
		s.Procs = append(s.Procs, sample.Usage{
			Ident: p.id, PPID: p.ppid, CPU: p.cpu, Children: p.children, Owner: process.Owner{UID: uid, Session: uid != 990},
		})
	}
	s.Users = w.ledger.Add(s.Procs, at)
	for _, pt := range w.policy.Due(at, w.windows.Add(s)) {
		w.treat(at, pt, s.Procs)
	}
	w.policy.Recovered(at, w.windows.Alive)
	w.policy.Each(func(pt *ladder.Patient) { w.windows.Hurry(pt.Hog, pt.Returns) })
}

// treat takes a step as the agent does.
func (w *world) treat(at time.Time, pt *ladder.Patient, procs []sample.Usage) {
	members := []sample.Member{{Ident: pt.Hog.Ident}}
	if pt.Hog.UID != 0 {
		members = w.ledger.Members(pt.Hog.UID, pt.Hog.Limit, w.windows.Apart, func(id process.Ident) string { return w.find(id).facts.Executable })
	}
	var targets []*modelProcess
	var first *process.Facts
	known := map[process.Ident]bool{}
	for _, m := range members {
		p := w.find(m.Ident)
		if p == nil || p.dead {
			continue
		}
		f := p.facts
		f.Busy = w.ledger.Busy(p.id, 40)
		if first == nil {
			first = &f
		}
		if w.guard.Judge(f) == nil {
			targets = append(targets, p)
			known[p.id] = true
		}
	}
	if first == nil {
		return
	}
	if len(targets) > 0 {
		first = &targets[0].facts
	}
	d := w.policy.Decide(at, pt, *first, nil)
	if !d.Act || d.Step == ladder.Alert {
		return
	}
	w.acts++
	if pt.Hog.UID != 0 {
		descendants, _ := sample.Family(procs, pt.Hog.UID, known, 1<<60)
		for _, id := range descendants {
			if p := w.find(id); p != nil && !p.dead && w.guard.Judge(p.facts) == nil {
				targets = append(targets, p)
			}
		}
	}
	for _, p := range targets {
		if p.protected || !p.hog {
			w.wrong = fmt.Sprintf("%s %s %s of user %d (%+v); of the user:", d.Step, p.kind, p.id, p.facts.UIDs[0], pt.Hog)
			for _, x := range w.procs {
				if x.facts.UIDs[0] == p.facts.UIDs[0] {
					w.wrong += fmt.Sprintf("\n%s %s %.3f since %d ended %d cpu %s", x.id, x.kind, x.rate, x.since, x.ended, x.cpu)
				}
			}
			return
		}
		if d.Step == ladder.Kill || !p.traps {
			p.dead, p.ended = true, w.now
			w.ledger.Excuse(p.id)
		}
	}
}

func (w *world) find(id process.Ident) *modelProcess {
	for _, p := range w.procs {
		if p.id == id {
			return p
		}
	}
	return nil
}
