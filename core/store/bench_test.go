package store_test

import (
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
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
