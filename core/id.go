package core

import (
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// NewID returns a ULID: 26 characters that sort by t, in milliseconds, and are random beyond it.
func NewID(t time.Time) string { return contract.NewID(t) }
