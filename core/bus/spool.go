package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// Spool keeps events in a folder, a file each, until they are published. Nothing is lost while Redis is away
// or when the process dies, and nothing is sent twice: the bus knows an event's ID.
type Spool struct {
	dir  string
	send func(context.Context, core.Event) error
	wake chan struct{}
}

// OpenSpool opens the folder, making it when it is not there. send publishes one event.
func OpenSpool(dir string, send func(context.Context, core.Event) error) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return &Spool{dir: dir, send: send, wake: make(chan struct{}, 1)}, nil
}

// Put keeps an event and returns when it is safe on disk. IDs are ULIDs, so names sort by time.
func (s *Spool) Put(e core.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(s.dir, e.ID+".json"), data, 0o600); err != nil {
		return fmt.Errorf("spool event: %w", err)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// Run publishes what is in the spool, in order, until ctx ends.
func (s *Spool) Run(ctx context.Context) {
	wait := backoff{}
	for {
		if err := s.flush(ctx); err != nil {
			wait.sleep(ctx)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		wait.reset()
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
	}
}

func (s *Spool) flush(ctx context.Context) error {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	var names []string
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".json") {
			names = append(names, filepath.Join(s.dir, f.Name()))
		}
	}
	sort.Strings(names)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read spool: %w", err)
		}
		var e core.Event
		if err := json.Unmarshal(data, &e); err != nil {
			// A foreign or broken file must not hold up the rest; it is kept for a person to look at.
			if err := os.Rename(name, name+".bad"); err != nil {
				return fmt.Errorf("set aside %s: %w", name, err)
			}
			continue
		}
		if err := s.send(ctx, e); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("clear spool: %w", err)
		}
	}
	return nil
}
