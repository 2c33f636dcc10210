package notify

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// pageLines is the number of lines of one page.
const pageLines = 66

// TestDay has a day with all that the tests of the plugins doctor and maintenance do to a host. What a person reads of it
// fits on one page, whether all of it happens within minutes or each at its own time. To record the day anew:
//
//	rm core/notify/testdata/day.jsonl
//	KEEP_ALERTS=$PWD/core/notify/testdata/day.jsonl go test -count=1 -p 1 ./plugins/doctor ./plugins/maintenance
func TestDay(t *testing.T) {
	file, err := os.Open("testdata/day.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	var day []core.Event
	for sc := bufio.NewScanner(file); sc.Scan(); {
		var e struct {
			Test, Kind, Key, Summary string
			Severity                 core.Severity
		}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		day = append(day, core.Event{Kind: e.Kind, Severity: e.Severity, Key: e.Key, Summary: e.Summary, Environment: "lab", Host: "web-1"})
	}
	if len(day) < 50 {
		t.Fatalf("a day of %d alerts", len(day))
	}
	for name, apart := range map[string]time.Duration{
		"each at its own time": 24 * time.Hour / time.Duration(len(day)), "within minutes": 5 * time.Second, "at once": 10 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, hook)
				for _, e := range day {
					e.ID = core.NewID(time.Now())
					d.Take(t.Context(), e, func(error) {})
					time.Sleep(apart)
				}
				time.Sleep(time.Hour)
				lines := 0
				for i, subject := range d.got {
					lines++
					if strings.Contains(subject, ", …") { // several: the body has a line for each
						list, _, _ := strings.Cut(d.bodies[i], "\n\n")
						lines += strings.Count(list, "\n") + 1
					}
				}
				t.Logf("%d alerts are %d messages with %d lines", len(day), len(d.got), lines)
				if lines == 0 || lines > pageLines {
					t.Errorf("%d lines, want at most %d", lines, pageLines)
				}
			})
		})
	}
}
