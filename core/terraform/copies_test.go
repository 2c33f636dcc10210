package terraform

import (
	"slices"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

func TestSpareCopies(t *testing.T) {
	now := time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC)
	var all []Copy // newest first: three a day, for forty days
	number := 120
	for day := range 40 {
		for _, hour := range []int{11, 8, 5} {
			at := time.Date(2026, 6, 30-day, hour, 0, 0, 0, time.UTC)
			all = append(all, Copy{Number: number, Before: core.Holder{Since: at}})
			number--
		}
	}
	kept := map[int]bool{}
	for _, c := range all {
		kept[c.Number] = true
	}
	for _, c := range spare(all, now) {
		kept[c.Number] = false
	}
	var got []int
	for _, c := range all {
		if kept[c.Number] {
			got = append(got, c.Number)
		}
	}
	// The newest twenty, 120 to 101, span seven days; the last one of each earlier day is kept.
	want := []int{}
	for n := 120; n > 100; n-- {
		want = append(want, n)
	}
	for n := 99; n >= 120-3*29; n -= 3 {
		want = append(want, n)
	}
	if !slices.Equal(got, want) {
		t.Errorf("kept %v\nwant %v", got, want)
	}
	if left := spare(all[:keptCopies], now); len(left) != 0 {
		t.Errorf("of %d copies, %v are spared", keptCopies, left)
	}
}
