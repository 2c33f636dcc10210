package engine_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// noops is a pipeline of n stages, each needing the one before, recorded by a file store in dir.
func noops(b *testing.B, n int, dir string) *world {
	b.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("noop.s%d", i)
		if i > 0 {
			names[i] += " < " + fmt.Sprintf("noop.s%d", i-1)
		}
	}
	w := newWorld(b, names...)
	w.describe["noop"] = core.Description{Name: "noop", Cacheable: true}
	files := store.Open(dir)
	b.Cleanup(func() {
		if err := files.Close(); err != nil {
			b.Error(err)
		}
	})
	w.engine.Store, w.engine.Folders, w.engine.Emit = files, files, nil
	return w
}

// passes runs the pipeline, which has to pass.
func (w *world) passes(b *testing.B, o core.RunOptions) {
	b.Helper()
	o.Commit, o.Branch = "abc", "main"
	if r, err := w.engine.Run(b.Context(), w.pipeline, o); err != nil || r.Status != core.Passed {
		b.Fatalf("%s: %s, %v", r.Status, r.Reason, err)
	}
}

// perStage reports what one stage costs, without its plugin's process.
func perStage(b *testing.B, stages int) {
	b.Helper()
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N*stages), "ms/stage")
}

// BenchmarkStages runs stages that do nothing, one after the other, with plugins that are no processes: the cost of
// walking and recording. Budget: ms/stage at most 1, and the same for 200 stages, for 1,000, and beside 2,000 old runs.
func BenchmarkStages(b *testing.B) {
	for _, bench := range []struct{ stages, old int }{{200, 0}, {1000, 0}, {200, 2000}} {
		b.Run(fmt.Sprintf("stages=%d/old=%d", bench.stages, bench.old), func(b *testing.B) {
			dir := b.TempDir()
			oldRuns(b, dir, bench.old)
			w := noops(b, bench.stages, dir)
			for b.Loop() {
				w.passes(b, core.RunOptions{Force: true})
			}
			perStage(b, bench.stages)
		})
	}
}

// BenchmarkReuse runs a pipeline of which nothing has changed, beside old runs. Budget: ms/stage at most 1.
func BenchmarkReuse(b *testing.B) {
	for _, bench := range []struct{ stages, old int }{{200, 0}, {1000, 0}, {200, 2000}} {
		b.Run(fmt.Sprintf("stages=%d/old=%d", bench.stages, bench.old), func(b *testing.B) {
			dir := b.TempDir()
			oldRuns(b, dir, bench.old)
			w := noops(b, bench.stages, dir)
			w.passes(b, core.RunOptions{})
			for b.Loop() {
				w.passes(b, core.RunOptions{})
			}
			perStage(b, bench.stages)
		})
	}
}

// oldRuns records n runs of six stages that passed.
func oldRuns(b *testing.B, dir string, n int) {
	b.Helper()
	if n == 0 {
		return
	}
	w := noops(b, 6, dir)
	day := time.Now().Add(-time.Duration(n) * time.Hour)
	var wg sync.WaitGroup
	defer wg.Wait()
	limit := make(chan struct{}, 32) // that wait for the disk
	for i := range n {
		began := day.Add(time.Duration(i) * time.Hour)
		r := core.Run{
			ID: core.RunID(core.NewID(began)), Pipeline: "shop", Commit: "abc", Branch: "main", Status: core.Passed,
			Started: began, Ended: began.Add(time.Minute),
		}
		for _, s := range w.pipeline.Stages {
			r.Stages = append(r.Stages, core.StageResult{ID: s.ID(), Status: core.Passed, Started: began, Ended: began.Add(time.Minute)})
		}
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			if err := w.engine.Store.PutRun(b.Context(), r); err != nil {
				b.Error(err)
			}
		})
	}
}
