package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

// BenchmarkRecord is what one change of a stage costs the engine: its result and an event.
func BenchmarkRecord(b *testing.B) {
	f := store.Open(b.TempDir())
	b.Cleanup(func() { _ = f.Close() })
	r := storetest.NewRun(1)
	if err := f.PutRun(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := f.PutStage(b.Context(), r.ID, r.Stages[0]); err != nil {
			b.Fatal(err)
		}
		if err := f.Append(b.Context(), core.Event{Run: r.ID, Kind: core.KindLog, Summary: "line"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify reads a journal of 100,000 lines and checks its chain, as is done before a result in it is reused,
// and decodes it, as troop verify does.
func BenchmarkVerify(b *testing.B) {
	f := store.Open(b.TempDir())
	b.Cleanup(func() { _ = f.Close() })
	r := storetest.NewRun(1)
	for range 100_000 {
		if err := f.Append(b.Context(), core.Event{Run: r.ID, Kind: core.KindLog, Summary: "a line of about the usual length, with a file.go:12 in it"}); err != nil {
			b.Fatal(err)
		}
	}
	r.Status, r.Ended, r.Stages[0].Status, r.Stages[0].Inputs = core.Passed, r.Started, core.Passed, "sha256:1"
	if err := f.PutRun(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	b.Run("reuse", func(b *testing.B) {
		for b.Loop() {
			h, err := f.History(b.Context(), r.Pipeline, func(err error) { b.Fatal(err) })
			if err != nil {
				b.Fatal(err)
			}
			if s, err := h.Same(b.Context(), "a.a", "sha256:1"); s == nil || err != nil {
				b.Fatal(s, err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if err := f.Verify(b.Context(), r.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRuns lists the newest of 10,000 runs of a shared store on a machine that has seen none of them, as troop runs
// does.
func BenchmarkRuns(b *testing.B) {
	g := buckettest.Gateway(b)
	truth := store.OpenShared(b.TempDir(), store.NewFolder(filepath.Join(g.Dir, g.Bucket, g.Prefix)), nil, nil) // what the server serves
	var writers errgroup.Group
	writers.SetLimit(16)
	began := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 10_000 {
		writers.Go(func() error {
			r := storetest.NewRun(1)
			r.Started = began.Add(time.Duration(i) * time.Second)
			r.ID, r.Status, r.Ended = core.RunID(core.NewID(r.Started)), core.Passed, r.Started
			return truth.PutRun(b.Context(), r)
		})
	}
	if err := writers.Wait(); err != nil {
		b.Fatal(err)
	}
	if err := truth.Close(); err != nil {
		b.Fatal(err)
	}
	s3, err := store.OpenS3(b.Context(), g.Options)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f := store.OpenShared(b.TempDir(), store.Patient{Objects: s3, Wait: time.Minute}, nil, nil)
		runs, err := f.Runs(b.Context(), store.Filter{Limit: 20})
		if err != nil || len(runs) != 20 {
			b.Fatal(len(runs), err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
