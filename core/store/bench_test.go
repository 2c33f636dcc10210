package store_test

import (
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
)

// What one change of a stage costs the engine: an event and the state of the run.
func BenchmarkRecord(b *testing.B) {
	f := store.Open(b.TempDir())
	b.Cleanup(func() { _ = f.Close() })
	r := storetest.NewRun(1)
	for b.Loop() {
		if err := f.Append(b.Context(), core.Event{Run: r.ID, Kind: core.KindLog, Summary: "line"}); err != nil {
			b.Fatal(err)
		}
		if err := f.PutRun(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
