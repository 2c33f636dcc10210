package core_test

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed-b96de936/troop/core"
)

func TestNewIDIsULID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	last := ""
	for i := range 1000 {
		now := time.UnixMilli(1_700_000_000_000 + int64(i)*7919)
		id := core.NewID(now)
		u, err := ulid.ParseStrict(id)
		if err != nil || !u.Timestamp().Equal(now) {
			t.Fatalf("%s: %v, time %v, want %v", id, err, u.Timestamp(), now)
		}
		if seen[id] || id <= last {
			t.Fatalf("%s does not follow %s", id, last)
		}
		seen[id], last = true, id
	}
}
