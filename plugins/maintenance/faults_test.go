package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRandomFaults kills agents at random points while the storage host is away, full, cut off or damages what it gets, the
// clock jumps, and bytes of the journal flip. In the end every file is stored once, has a receipt in the journal, and can be
// restored; nothing is left on the host.
func TestRandomFaults(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // thousands of journals are synced
	}
	kills, flips := 0, 0
	for seed := range rounds {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 11))
			f := newFixture(t)
			var contents []string
			flipped := false
			for life := range 1 + r.IntN(4) {
				for range r.IntN(3) {
					text := strings.Repeat(fmt.Sprintf("line %d of round %d\n", len(contents), seed), 100+r.IntN(300))
					f.write(fmt.Sprintf("app%d.log", len(contents)), text)
					contents = append(contents, text)
				}
				f.breakSomething(r)
				c := &crash{at: r.IntN(40)}
				a := f.agent(c)
				for range 1 + r.IntN(4) {
					a.Tick(t.Context())
					f.clock = f.clock.Add(time.Duration(r.IntN(3600)-600) * time.Second) // also back
				}
				a.Close()
				if c.dead {
					kills++
				}
				if life > 0 && r.IntN(4) == 0 && f.flip(r) {
					flipped = true
					flips++
				}
			}
			f.away, f.store.cut, f.store.full, f.store.corrupt, f.store.readErr = false, 0, false, false, nil
			f.clock = f.clock.Add(24 * time.Hour)
			a := f.agent(nil)
			t.Cleanup(a.Close)
			f.ticks(a, 12)
			a.rebuilds = true // as after damage: receipts that only the storage host has
			f.clock = f.clock.Add(time.Hour)
			a.Tick(t.Context())
			f.checkAll(a, contents, flipped)
		})
		if !ok {
			return
		}
	}
	t.Logf("%d rounds, %d kills, %d flips", rounds, kills, flips)
}

// breakSomething breaks the storage host, or nothing.
func (f *fixture) breakSomething(r *rand.Rand) {
	f.away, f.store.cut, f.store.full, f.store.corrupt, f.store.readErr = false, 0, false, false, nil
	switch r.IntN(6) {
	case 0:
		f.away = true
	case 1:
		f.store.cut = 10 + r.Int64N(40)
	case 2:
		f.store.cut, f.store.full = 10, true
	case 3:
		f.store.corrupt = true
	case 4:
		f.store.readErr = errors.New("input/output error")
	}
}

// flip changes one byte of the journal.
func (f *fixture) flip(r *rand.Rand) bool {
	name := filepath.Join(f.state, "journal.jsonl")
	b, err := os.ReadFile(name)
	if err != nil || len(b) == 0 {
		return false
	}
	b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
	if err := os.WriteFile(name, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return true
}

// checkAll compares what was written with what is stored. After a flip, a file whose claim was lost may be stored twice.
func (f *fixture) checkAll(a *agent, contents []string, flipped bool) {
	f.t.Helper()
	if left := f.local(); len(left) != 0 {
		f.t.Errorf("left on the host: %v; published %v", left, f.kinds())
	}
	stored := f.stored()
	for i, text := range contents {
		n := 0
		for _, s := range stored {
			if s == text {
				n++
			}
		}
		if n == 0 || n > 1 && !flipped {
			f.t.Errorf("file %d is stored %d times", i, n)
		}
	}
	for _, s := range stored {
		if !slices.Contains(contents, s) {
			f.t.Errorf("stored %q, which nobody wrote", s[:min(len(s), 40)])
		}
	}
	restored := map[string]bool{}
	for i, rec := range a.journal.Receipts() {
		to := filepath.Join(f.logs, fmt.Sprintf("restored%d", i))
		if got := a.Serve(f.t.Context(), request{Receipt: rec.ID, To: to}); got.Error != "" {
			f.t.Errorf("restore %s: %s", rec.Path, got.Error)
			continue
		}
		if b, err := os.ReadFile(to); err == nil {
			restored[string(b)] = true
		}
	}
	for i, text := range contents {
		if !restored[text] {
			f.t.Errorf("file %d cannot be restored", i)
		}
	}
}
