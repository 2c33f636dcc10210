package flags

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
)

// stopped is a hash of the releases that were stopped, each with the time, and the channel that tells of a new one. Unlike
// the flags it may be written by the router, which stops a release when nobody is there to do it; it can only switch off.
const stopped = "troop:stopped"

// Stop switches off the flags that came with a release (Metadata[Release]), until they are changed again.
func (f *Flags) Stop(ctx context.Context, release string, at time.Time) error {
	_, err := f.rdb.TxPipelined(ctx, func(t redis.Pipeliner) error {
		t.HSet(ctx, stopped, release, at.UTC().Format(time.RFC3339Nano))
		t.Publish(ctx, stopped, release)
		return nil
	})
	if err != nil {
		return fmt.Errorf("switch off the flags of release %s: %w", release, err)
	}
	return nil
}

// Heed stops the release that an event says was stopped, and returns the event with the delay.
func (f *Flags) Heed(ctx context.Context, e core.Event) (core.Event, error) {
	release, _ := e.Data[core.StoppedRelease].(string)
	if release == "" {
		return e, nil
	}
	if err := f.Stop(ctx, release, e.Time); err != nil {
		return e, err
	}
	e.Data = maps.Clone(e.Data)
	e.Data[core.Delays] = core.Delayed(e, "flags")
	return e, nil
}

// Stops returns when each stopped release was stopped.
func (f *Flags) Stops(ctx context.Context) (Stops, error) {
	m, err := f.rdb.HGetAll(ctx, stopped).Result()
	if err != nil {
		return nil, fmt.Errorf("read the stopped releases: %w", err)
	}
	s := Stops{}
	for release, text := range m {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			s[release] = at
		}
	}
	return s, nil
}

// Stops are stopped releases and when that was.
type Stops map[string]time.Time

// Off reports whether a flag is off because its release was stopped since the flag was changed last.
func (s Stops) Off(flag Flag) bool { return s[flag.Text(Release)].After(flag.Updated) }
