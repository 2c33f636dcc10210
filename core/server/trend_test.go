package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// TestTrend records runs whose coverage and time change: the page has them in order, without what a run took over, did not
// end, or is of another branch.
func TestTrend(t *testing.T) {
	w := newWorld(t, false)
	p := w.person("ops", Viewer)
	if r := p.get("/p/shop/trend"); r.status != 200 || !strings.Contains(r.text, "No run that ended") {
		t.Errorf("without runs: %d\n%s", r.status, r.text)
	}
	files := store.Open(filepath.Join(w.repo, ".troop"))
	defer func() { _ = files.Close() }()
	for i, run := range []struct {
		status   core.Status
		branch   string
		coverage float64
		reused   core.RunID
	}{{core.Passed, "main", 70, ""}, {core.Failed, "main", 81.5, ""}, {core.Passed, "main", 99, "01M8N00000"}, {core.Cancelled, "main", 98, ""}, {core.Passed, "other", 97, ""}, {core.Passed, "main", 75, ""}} {
		began := time.Now().Add(time.Duration(i-10) * time.Hour)
		r := core.Run{
			ID: core.RunID(core.NewID(began)), Pipeline: "shop", Commit: w.git("rev-parse", "HEAD"), Branch: run.branch, Status: run.status, Started: began, Ended: began.Add(time.Minute), PID: os.Getpid(),
			Stages: []core.StageResult{{ID: "test.unit", Status: core.Passed, Started: began, Ended: began.Add(time.Duration(10+i) * time.Second), Reused: run.reused}},
		}
		if err := files.PutRun(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		for _, value := range []float64{1, run.coverage} { // the last one counts
			e := core.Event{Run: r.ID, Source: "test.unit", Kind: core.KindMetric, Summary: "coverage", Data: map[string]any{"name": "coverage of js", "value": value, "unit": "%", "limit": 60.0}}
			if err := files.Append(t.Context(), core.Complete(e)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 { // the second time from memory
		r := p.get("/p/shop/trend?branch=main")
		for _, want := range []string{"coverage of js: 3 values, now 75 %", `data-is="From">70<`, `data-is="To">81.5<`, `data-is="Limit">60<`, "time: 3 values, now 15 s", `data-is="From">10<`} {
			if !strings.Contains(r.text, want) {
				t.Errorf("the page lacks %q:\n%s", want, r.text)
			}
		}
	}
	if r := p.get("/p/shop/trend"); !strings.Contains(r.text, "coverage of js: 4 values, now 75 %") {
		t.Errorf("of all branches:\n%s", r.text)
	}
}

// TestQuoted has findings in files of the commit, which the page of the run quotes as they were then, and in others.
func TestQuoted(t *testing.T) {
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
			w := newWorld(t, remote)
			p := w.person("ops", Viewer)
			commit := w.git("rev-parse", "HEAD")
			w.write("pipeline.hcl", "# what came later\n"+manifestText)
			read, err := w.pipelines["shop"].read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r := core.Run{
				ID: core.RunID(core.NewID(time.Now())), Pipeline: "shop", Commit: commit, Status: core.Failed, Started: time.Now(), Ended: time.Now(), PID: os.Getpid(),
				Stages: []core.StageResult{{ID: "test.unit", Status: core.Failed, Started: time.Now(), Ended: time.Now()}},
			}
			if err := read.Files.PutRun(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			for _, at := range []struct {
				path string
				line int
			}{{"pipeline.hcl", 5}, {"pipeline.hcl", 5000}, {"made-by-the-run.js", 3}, {"../../etc/passwd", 1}, {"", 0}} {
				e := core.Event{Run: r.ID, Source: "test.unit", Kind: core.KindFinding, Summary: "<b> is wrong", Data: map[string]any{"path": at.path, "line": at.line, "column": 3, "severity": "error"}}
				if err := read.Files.Append(t.Context(), core.Complete(e)); err != nil {
					t.Fatal(err)
				}
			}
			got := p.get("/p/shop/runs/" + string(r.ID)).text
			for _, want := range []string{"<span>    3  }\n</span>", "<span class=\"at\">    5  environment &#34;lab&#34; {}\n</span>", "<span>    7  environment &#34;live&#34; {}\n</span>", "&lt;b&gt; is wrong"} {
				if !strings.Contains(got, want) {
					t.Errorf("the page lacks %q:\n%s", want, got)
				}
			}
			if n := strings.Count(got, `class="quoted"`); n != 1 {
				t.Errorf("%d findings are quoted, want 1", n)
			}
		})
	}
}
