package server

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// TestSchedules has days go by.
func TestSchedules(t *testing.T) {
	w := newWorld(t, true)
	w.free()
	w.write("pipeline.hcl", manifestText+`
schedule "nightly" {
  cron        = "0 3 * * *"
  run         = "main"
  environment = "lab"
}

schedule "morning" {
  cron  = "CRON_TZ=Europe/Berlin 0 7 * * *"
  drift = "live"
}
`)
	w.git("commit", "-qam", "schedules")
	w.git("push", "-q", "origin", "main")
	v := w.pipelines["shop"]
	if err := v.update(t.Context()); err != nil {
		t.Fatal(err)
	}
	runs := func() int {
		t.Helper()
		p, err := v.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := p.Files.Runs(t.Context(), store.Filter{Environment: "lab", Branch: "main", Statuses: []core.Status{core.Passed}})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	drifts := func() (n int) {
		t.Helper()
		acts, err := w.acts(caller{Account: Account{Roles: map[string]Role{Everywhere: Owner}}, most: Owner}, "shop", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range acts {
			if a.By == "schedule morning" && a.What == "drift" && a.Place == "live" {
				n++
			}
		}
		return n
	}
	begin := time.Date(2100, 1, 1, 12, 0, 0, 0, time.UTC) // by the server's own clock, nothing is due until then
	night := begin.Add(15 * time.Hour)
	if err := w.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"nightly", "morning"} {
			if err := put(tx, schedulesBucket, scheduleKey(v, core.Schedule{Name: name}), begin); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at           time.Time
		runs, drifts int
	}{
		{begin, 0, 0},
		{night.Add(-time.Minute), 0, 0},
		{night, 1, 0},
		{night.Add(time.Minute), 1, 0},
		{night.Add(4 * time.Hour), 1, 1},  // in Berlin it was seven
		{night.Add(72 * time.Hour), 2, 2}, // a server that did not run does once what it has missed
		{night.Add(72 * time.Hour), 2, 2},
		{night.Add(76 * time.Hour), 2, 3},
	} {
		if err := w.due(t.Context(), v, step.at); err != nil {
			t.Fatal(err)
		}
		w.until("the run passes", func() bool { list, err := w.queue(); return err == nil && len(list) == 0 })
		if r, d := runs(), drifts(); r != step.runs || d != step.drifts {
			t.Errorf("at %s: %d runs, %d checks, want %d, %d", step.at.Format(time.DateTime), r, d, step.runs, step.drifts)
		}
	}
	page := w.person("v", Viewer).get("/p/shop").text
	for _, want := range []string{"nightly", "CRON_TZ=Europe/Berlin 0 7 * * *", night.Add(96 * time.Hour).Format("2006-01-02 15:04")} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
}
