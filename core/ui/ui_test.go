package ui_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ui"
)

var day = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

const runID = "01JGZ3V0M8QX4T6W7Y2A5B9CDE"

// script is a run in which a stage fails, with one event of every kind.
func script() (core.Run, []core.Event) {
	at := day
	ev := func(source, kind, summary string, data map[string]any) core.Event {
		at = at.Add(100 * time.Millisecond)
		return core.Event{
			ID: "01", Time: at, Run: runID, Environment: "lab", Source: source, Kind: kind, Severity: core.Info, Summary: summary, Data: data,
		}
	}
	task := ev("environment.lab", core.KindTask, "install haproxy", map[string]any{"status": "changed", "path": "router/main.yml:3"})
	task.Host = "router-1"
	quiet := ev("environment.lab", core.KindTask, "read facts", map[string]any{"status": "ok"})
	quiet.Host = "router-1"
	alert := ev("deploy.shop", "canary.alert", "5xx above 1 %", nil)
	alert.Host, alert.Severity = "canary-1", core.Alert
	events := []core.Event{
		ev("run", core.KindRunStarted, "", map[string]any{
			"pipeline": "storefront", "commit": "0123456789abcdef", "subject": "Fix the cart", "branch": "main",
			"stages": []string{"build.app", "test.unit", "deploy.shop"},
		}),
		ev("build.app", core.KindStageStarted, "started", map[string]any{"attempt": 1}),
		ev("build.app", core.KindLog, "added 71 packages\tin 2s\x1b[31m\x1b]0;title\x07\r\n", nil),
		ev("build.app", core.KindLog, "downloading 10 %\rdownloading 100 %", map[string]any{"error": true}),
		ev("build.app", core.KindProgress, "packages", map[string]any{"done": 1.0, "total": 4.0}),
		ev("build.app", core.KindStageRetrying, "attempt 1 of 2: npm: exit status 1; again in 1s", nil),
		ev("build.app", core.KindStageStarted, "started", map[string]any{"attempt": 2}),
		ev("build.app", core.KindTable, "", map[string]any{"columns": []string{"FILE", "SIZE"}, "rows": [][]string{{"app.tar.zst", "5 MiB"}, {"größe", "1"}}}),
		ev("build.app", core.KindStagePassed, "passed", map[string]any{"seconds": 12.3}),
		ev("environment.lab", core.KindEnvironmentPreparing, "preparing", nil),
		task, quiet,
		ev("environment.lab", core.KindEnvironmentReady, "ready", map[string]any{"seconds": 75.0}),
		ev("test.unit", core.KindStageStarted, "started", map[string]any{"attempt": 1}),
		ev("test.unit", core.KindFinding, "expected 200, got 500", map[string]any{"path": "test/app.test.js", "line": 12, "column": 3, "severity": "error", "rule": "cart"}),
		ev("test.unit", core.KindFinding, "slow", map[string]any{"path": "test/app.test.js", "line": 40.0, "column": 0.0, "severity": "warning"}),
		ev("test.unit", core.KindMetric, "statements", map[string]any{"name": "statements", "value": 64.28571, "unit": "%", "limit": 70.0}),
		ev("test.unit", core.KindMetric, "tests", map[string]any{"name": "tests", "value": 14.0, "unit": "", "detail": "2 left out: slow"}),
		alert,
		ev("test.unit", core.KindStageFailed, "1 of 14 tests failed", map[string]any{"seconds": 3.21}),
		ev("run", core.KindRunFailed, "test.unit: 1 of 14 tests failed", map[string]any{"seconds": 16.0}),
	}
	r := core.Run{
		ID: runID, Pipeline: "storefront", Manifest: "/shop/pipeline.hcl", Commit: "0123456789abcdef", Subject: "Fix the cart", Branch: "main",
		Environment: "lab", By: "alice@laptop", Status: core.Failed, Reason: "test.unit: 1 of 14 tests failed", Started: day, Ended: day.Add(16 * time.Second),
		Stages: []core.StageResult{
			{ID: "build.app", Status: core.Passed, Started: day, Ended: day.Add(12300 * time.Millisecond)},
			{ID: "test.unit", Status: core.Failed, Reason: "1 of 14 tests failed", Started: day, Ended: day.Add(3210 * time.Millisecond)},
			{ID: "deploy.shop", Status: core.Pending, Reason: "needs test.unit"},
		},
	}
	return r, events
}

// journaled is an event as it comes back from a journal.
func journaled(t *testing.T, events []core.Event) []core.Event {
	t.Helper()
	b, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	var out []core.Event
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	r, events := script()
	passed := r
	passed.Status, passed.Reason = core.Passed, ""
	passed.Stages = []core.StageResult{{ID: "build.app", Status: core.Passed, Started: day, Ended: day.Add(time.Hour)}}
	emit := func(u *ui.UI) {
		for _, e := range events {
			u.Emit(e)
		}
		u.Summary(r)
	}
	tests := map[string]struct {
		options ui.Options
		do      func(u *ui.UI)
	}{
		"plain":   {ui.Options{}, emit},
		"verbose": {ui.Options{Verbose: true, TTY: true}, emit},
		"quiet":   {ui.Options{Quiet: true}, emit},
		"color":   {ui.Options{Color: true}, emit},
		"json":    {ui.Options{JSON: true, Color: true}, emit},
		"passed": {ui.Options{}, func(u *ui.UI) {
			for _, e := range events[:9] {
				u.Emit(e)
			}
			u.Summary(passed)
		}},
		"show":      {ui.Options{}, func(u *ui.UI) { u.Show(r, journaled(t, events)) }},
		"show-json": {ui.Options{JSON: true}, func(u *ui.UI) { u.Show(r, journaled(t, events)) }},
		"why":       {ui.Options{}, func(u *ui.UI) { u.Why(r, journaled(t, events)) }},
		"why-json":  {ui.Options{JSON: true}, func(u *ui.UI) { u.Why(r, journaled(t, events)) }},
		"log": {ui.Options{}, func(u *ui.UI) {
			for _, e := range journaled(t, events) {
				if e.Source == "build.app" {
					u.Log(e)
				}
			}
		}},
		"lists": {ui.Options{}, func(u *ui.UI) {
			u.Hosts([]core.Host{{Name: "web-1", Role: "production", Address: "10.0.0.10", PrivateAddress: "10.0.0.10", User: "root", Port: 22}})
			u.Table(core.Table{Columns: []string{"POOL", "WEIGHT"}, Rows: [][]string{{"production", "2"}, {"canary", "1"}, {"日本", "\x1b[2J"}}})
			u.Printf("%d hosts", 1)
			u.JSON("nothing")
		}},
		"lists-json": {ui.Options{JSON: true}, func(u *ui.UI) {
			u.Hosts([]core.Host{{Name: "web-1", Role: "production", Address: "10.0.0.10", PrivateAddress: "10.0.0.10", User: "root", Port: 22}})
			u.Hosts(nil)
			u.Runs(nil)
			u.Runs([]core.Run{r})
			u.Table(core.Table{Columns: []string{"POOL", "CANARY WEIGHT"}, Rows: [][]string{{"production", "2"}}})
			u.Printf("nothing")
			u.JSON(map[string]int{"n": 1})
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errOut bytes.Buffer
			tt.do(ui.New(&out, &errOut, tt.options))
			if errOut.Len() > 0 {
				t.Errorf("complained: %s", errOut.String())
			}
			golden(t, name, out.String())
		})
	}
}

func TestRunsAreListedByTheirAge(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	u := ui.New(&out, &out, ui.Options{})
	r, _ := script()
	r.Started = time.Now().Add(-3 * time.Hour)
	r.Ended = r.Started.Add(16 * time.Second)
	u.Runs([]core.Run{r})
	want := "RUN         STATUS  COMMIT     BRANCH  ENVIRONMENT  STARTED  TOOK  BY            SUBJECT\n" +
		"01JGZ3V0M8  failed  012345678  main    lab          3 h ago  16s   alice@laptop  Fix the cart (test.unit: 1 of 14 tests failed)\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	u := ui.New(&out, &errOut, ui.Options{})
	u.Error(&core.NotFoundError{What: "run", Name: "01X", Remedy: "troop runs lists them"})
	u.Error(errors.New("plan: terraform:\n  line \x1b[2Jtwo"))
	u.Warnf("%d files", 2)
	want := "troop: run 01X not found\n       troop runs lists them\ntroop: plan: terraform:\n  line two\ntroop: 2 files\n"
	if errOut.String() != want || out.Len() > 0 {
		t.Errorf("got %q, and on stdout %q", errOut.String(), out.String())
	}
	errOut.Reset()
	ui.New(&out, &errOut, ui.Options{JSON: true}).Error(errors.New("no"))
	if got := strings.TrimSpace(errOut.String()); got != `{"error":"no"}` {
		t.Errorf("as JSON: %s", got)
	}
}

// A run with failures reads so wherever it is shown, and never as one that passed.
func TestPassedWithFailures(t *testing.T) {
	r, _ := script()
	r.Status, r.Reason, r.Dirty = core.PassedWithFailures, "test.unit failed, which does not stop the run", true
	r.Stages[2].Status, r.Stages[2].Reason = core.Passed, ""
	events := []core.Event{
		{Run: runID, Source: "test.unit", Kind: core.KindFinding, Summary: "expected 200", Data: map[string]any{"severity": "error", "path": "a.js", "line": 3.0}},
		{Run: runID, Source: "build.app", Kind: core.KindStageSilent, Severity: core.Warning, Summary: "no output for 2m; waiting for npm"},
		{
			Run: runID, Source: "run", Kind: core.KindRunPassedWithFailures, Severity: core.Warning,
			Summary: r.Reason, Data: map[string]any{"seconds": 16.0},
		},
	}
	const verdict = "passed with failures in 16s: test.unit failed, which does not stop the run"
	for name, tt := range map[string]struct {
		show func(u *ui.UI)
		o    ui.Options
		want []string
	}{
		"run":       {func(u *ui.UI) { emitAll(u, events); u.Summary(r) }, ui.Options{}, []string{"* " + verdict, verdict, "a.js:3: expected 200", "* no output for 2m; waiting for npm"}},
		"quiet run": {func(u *ui.UI) { emitAll(u, events); u.Summary(r) }, ui.Options{Quiet: true}, []string{"* " + verdict}},
		"runs":      {func(u *ui.UI) { u.Runs([]core.Run{r}) }, ui.Options{}, []string{"passed with failures", "012345678+", "test.unit failed"}},
		"show":      {func(u *ui.UI) { u.Show(r, events) }, ui.Options{}, []string{verdict, "uncommitted changes"}},
		"why":       {func(u *ui.UI) { u.Why(r, events) }, ui.Options{}, []string{"! run 01JGZ3V0M8 passed with failures: test.unit failed"}},
		"JSON":      {func(u *ui.UI) { u.Runs([]core.Run{r}) }, ui.Options{JSON: true}, []string{`"status":"passed with failures"`, `"dirty":true`}},
	} {
		var out bytes.Buffer
		tt.show(ui.New(&out, &out, tt.o))
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", name, want, out.String())
			}
		}
	}
}

func emitAll(u *ui.UI, events []core.Event) {
	for _, e := range events {
		u.Emit(e)
	}
}
