package agent_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
)

// TestFolderMadeLater has an agent that may write to a folder which does not exist yet. Made later, it is read-only: the
// agent ends, for its unit to start it again. Then, or if it was read-only from the start, it goes on.
func TestFolderMadeLater(t *testing.T) {
	for name, before := range map[string]bool{"made later": false, "read-only from the start": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := setup(t)
			c.Writable = []string{"/var/log", "/var/dumps"}
			started := make(chan struct{})
			a := &agent.Agent{
				Config: c, StateDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
				Open: func(context.Context, string, core.Digest) (core.Plugin, error) {
					return plugin{watch: func(ctx context.Context, _ core.Job) error {
						close(started)
						<-ctx.Done()
						return nil
					}}, nil
				},
			}
			var there atomic.Bool
			there.Store(before)
			var looks atomic.Int32
			a.SetReadOnly(func(folder string) bool {
				looks.Add(1)
				return folder == "/var/dumps" && there.Load()
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			<-started
			there.Store(true)
			if before {
				for deadline := time.Now().Add(time.Minute); looks.Load() < 4 && time.Now().Before(deadline); {
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
				if err := <-done; err != nil || looks.Load() < 4 {
					t.Errorf("it ended with %v after %d looks", err, looks.Load())
				}
				return
			}
			if err := <-done; err == nil || !strings.Contains(err.Error(), "/var/dumps") {
				t.Errorf("it ended with %v, want that it names the folder", err)
			}
		})
	}
}

func TestIsReadOnly(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{dir, filepath.Join(dir, "none")} {
		if agent.IsReadOnly(folder) {
			t.Errorf("%s is read-only", folder)
		}
	}
}
