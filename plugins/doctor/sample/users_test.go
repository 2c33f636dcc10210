package sample

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

const (
	ms  = time.Millisecond
	bob = 1001
)

// bobs is a process of a user's session.
func bobs(pid, ppid int, cpu, children time.Duration) Usage {
	return Usage{
		Ident: process.Ident{PID: pid, Start: uint64(pid)}, PPID: ppid, CPU: cpu, Children: children,
		Owner: process.Owner{UID: bob, Session: true, Slice: bob},
	}
}

// play adds samples of a second each and returns what the user used in each.
func play(l *Ledger, samples ...[]Usage) []time.Duration {
	at := time.Unix(1000, 0)
	var list []time.Duration
	var last time.Duration
	for _, procs := range samples {
		at = at.Add(time.Second)
		var now time.Duration
		for _, u := range l.Add(procs, at) {
			if u.UID == bob {
				now = u.CPU
			}
		}
		list = append(list, now-last)
		last = now
	}
	return list
}

func everybody(uint32) bool { return true }

func TestLedger(t *testing.T) {
	shell := func(cpu, children time.Duration) Usage { return bobs(10, 1, cpu, children) }
	for name, test := range map[string]struct {
		samples [][]Usage
		want    []time.Duration
	}{
		"what was before does not count": {[][]Usage{{shell(5*time.Second, 9*time.Second)}, {shell(5*time.Second, 9*time.Second)}}, []time.Duration{0, 0}},
		"children that nobody saw":       {[][]Usage{{shell(0, 0)}, {shell(10*ms, 900*ms)}, {shell(20*ms, 1800*ms)}}, []time.Duration{0, 910 * ms, 910 * ms}},
		"a child that was seen counts once": {
			[][]Usage{{shell(0, 0)}, {shell(0, 0), bobs(11, 10, 300*ms, 0)}, {shell(0, 500*ms)}},
			[]time.Duration{0, 300 * ms, 200 * ms},
		},
		"a child and its child end together": {
			[][]Usage{{shell(0, 0)}, {shell(0, 0), bobs(11, 10, 100*ms, 0), bobs(12, 11, 300*ms, 0)}, {shell(0, 450*ms)}},
			[]time.Duration{0, 400 * ms, 50 * ms},
		},
		"a child that is waited for a sample later": {
			[][]Usage{{shell(0, 0)}, {shell(0, 0), bobs(11, 10, 300*ms, 0)}, {shell(0, 0)}, {shell(0, 400*ms)}},
			[]time.Duration{0, 300 * ms, 0, 100 * ms},
		},
		"who never waits owes nothing for long": {
			[][]Usage{{shell(0, 0)}, {shell(0, 0), bobs(11, 10, 800*ms, 0)}, {shell(0, 0)}, {shell(0, 0)}, {shell(0, 700*ms)}},
			[]time.Duration{0, 800 * ms, 0, 0, 700 * ms},
		},
		"a service's process does not count": {
			[][]Usage{{shell(0, 0)}, {shell(0, 0), {Ident: process.Ident{PID: 20, Start: 20}, CPU: time.Second, Owner: process.Owner{UID: bob}}}},
			[]time.Duration{0, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := play(NewLedger(10*time.Second, "", everybody), test.samples...); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestLedgerSlice has processes that nobody waits for: only the user's slice knows of them. When root's processes were
// started from it, its figure is not the user's.
func TestLedgerSlice(t *testing.T) {
	dir := t.TempDir()
	slice := filepath.Join(dir, "user-1001.slice")
	if err := os.Mkdir(slice, 0o755); err != nil {
		t.Fatal(err)
	}
	set := func(used time.Duration) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(slice, "cpu.stat"), fmt.Appendf(nil, "usage_usec %d\nuser_usec 1\n", used.Microseconds()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sudo := Usage{Ident: process.Ident{PID: 12, Start: 12}, PPID: 10, Owner: process.Owner{Session: true, Slice: bob}}
	sshd := sudo
	sshd.PPID = 1
	for name, test := range map[string]struct {
		other Usage
		want  time.Duration
	}{"sshd's": {sshd, 900 * ms}, "sudo's": {sudo, 100 * ms}} {
		set(10 * time.Second)
		l := NewLedger(10*time.Second, dir, everybody)
		at := time.Unix(1000, 0)
		l.Add([]Usage{bobs(10, 1, 0, 0), test.other}, at)
		set(10*time.Second + 900*ms)
		got := l.Add([]Usage{bobs(10, 1, 100*ms, 0), test.other}, at.Add(time.Second))
		if len(got) != 1 || got[0].CPU != test.want {
			t.Errorf("beside a process of %s: %+v, want %s", name, got, test.want)
		}
		if members := l.Members(bob, 1, func(process.Ident) bool { return false }, process.Ident.String); len(members) != 1 || members[0].PID != 10 {
			t.Errorf("members %v", members)
		}
	}
}

// TestMembers has a script with short-lived children, an editor in which somebody types, and a shell that sleeps: only the
// script is named.
func TestMembers(t *testing.T) {
	none := func(process.Ident) bool { return false }
	l := NewLedger(10*time.Second, "", everybody)
	var samples [][]Usage
	for s := range 10 {
		samples = append(samples, []Usage{bobs(10, 1, 0, 0), bobs(11, 10, time.Duration(20*s)*ms, time.Duration(950*s)*ms), bobs(12, 1, time.Duration(10*s)*ms, 0)})
	}
	play(l, samples...)
	if got := l.Members(bob, 80, none, process.Ident.String); len(got) != 1 || got[0].PID != 11 {
		t.Errorf("members %+v, want the script", got)
	}
	if got := l.Members(bob, 80, func(id process.Ident) bool { return id.PID == 11 }, process.Ident.String); len(got) != 0 {
		t.Errorf("members without the script %+v, want none: the editor uses little", got)
	}
	if !l.Busy(process.Ident{PID: 11, Start: 11}, 40) || l.Busy(process.Ident{PID: 12, Start: 12}, 40) {
		t.Error("want the script busy, and the editor not")
	}
}

// TestMembersUnseen has processes that nobody saw or waited for, and that used too much: suspect is what began lately, and not
// a program that was there before.
func TestMembersUnseen(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "user-1001.slice"), 0o755); err != nil {
		t.Fatal(err)
	}
	l := NewLedger(10*time.Second, dir, everybody)
	for s := range 15 {
		text := fmt.Sprintf("usage_usec %d\n", s*1_000_000)
		if err := os.WriteFile(filepath.Join(dir, "user-1001.slice", "cpu.stat"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		procs := []Usage{bobs(10, 1, time.Duration(50*s)*ms, 0)}
		if s == 14 {
			procs = append(procs, bobs(20, 1, 10*ms, 0))
		}
		l.Add(procs, time.Unix(int64(1000+s), 0))
	}
	if got := l.Members(bob, 80, func(process.Ident) bool { return false }, process.Ident.String); len(got) != 1 || got[0].PID != 20 {
		t.Errorf("members %v, want what began lately", got)
	}
}

// TestMembersByProgram has forty copies of a program, and an innocent that uses more than each of them.
func TestMembersByProgram(t *testing.T) {
	l := NewLedger(10*time.Second, "", everybody)
	var samples [][]Usage
	for s := range 10 {
		procs := []Usage{bobs(5, 1, time.Duration(100*s)*ms, 0)}
		for pid := 10; pid < 50; pid++ {
			procs = append(procs, bobs(pid, 1, time.Duration(30*s)*ms, 0))
		}
		samples = append(samples, procs)
	}
	play(l, samples...)
	program := func(id process.Ident) string { return fmt.Sprint(id.PID >= 10) }
	got := l.Members(bob, 80, func(process.Ident) bool { return false }, program)
	if len(got) != 40 || slices.ContainsFunc(got, func(m Member) bool { return m.PID == 5 }) {
		t.Errorf("%d members: %v", len(got), got)
	}
	if id, ok := l.Most(bob); !ok || id.PID != 5 {
		t.Errorf("most is used by %v", id)
	}
}

func TestJob(t *testing.T) {
	in := func(group int, u Usage) Usage {
		u.Group = group
		return u
	}
	procs := []Usage{
		in(10, bobs(10, 1, 0, 0)), in(10, bobs(20, 1, 0, 0)), in(11, bobs(30, 1, 0, 0)), // a script, its orphan, another job
		{Ident: process.Ident{PID: 40, Start: 40}, Group: 10}, // another user's
	}
	if job := Job(procs, bob, map[process.Ident]bool{{PID: 20, Start: 20}: true}); fmt.Sprint(job) != "[10@10]" {
		t.Errorf("job %v", job)
	}
}

func TestFamily(t *testing.T) {
	procs := []Usage{bobs(10, 1, 0, 0), bobs(20, 10, 0, 0), bobs(21, 20, 0, 0), bobs(30, 1, 0, 0), bobs(25, 1, 0, 0), {Ident: process.Ident{PID: 22, Start: 22}, PPID: 20}}
	descendants, younger := Family(procs, bob, map[process.Ident]bool{{PID: 10, Start: 10}: true}, 25)
	if fmt.Sprint(descendants) != "[20@20 21@21]" || fmt.Sprint(younger) != "[30@30]" {
		t.Errorf("descendants %v, younger %v", descendants, younger)
	}
}
