package terraform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"github.com/seed-b96de936/troop/core"
)

// self describes this command as the holder of a lock, from now on.
func (w *Workspace) self() core.Holder {
	return core.Holder{What: cmp.Or(w.What, "troop"), Run: w.Run, PID: os.Getpid(), Since: time.Now()}
}

// BusyError: another command works in the same folder.
type BusyError struct{ core.Holder }

func (e *BusyError) Error() string {
	return fmt.Sprintf("the state of this environment is in use by %s; wait for it, or end it with: kill -INT %d", e.Holder, e.PID)
}

// lockWait is how long a command waits for another to finish.
const lockWait = 10 * time.Second

// lock keeps other commands out of the folder and cleans up after an interrupted one. The kernel frees the lock when its
// process ends.
func (w *Workspace) lock(ctx context.Context) (release func(), err error) {
	return w.lockWithin(ctx, lockWait)
}

func (w *Workspace) lockWithin(ctx context.Context, wait time.Duration) (release func(), err error) {
	file := flock.New(w.path("lock"))
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if ok, err := file.TryLockContext(waiting, 100*time.Millisecond); !ok {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if busy, e := w.holder(); e == nil && waiting.Err() != nil {
			return nil, busy
		}
		return nil, fmt.Errorf("lock %s: %w", w.path("lock"), err)
	}
	release = func() { _ = file.Close() }
	if err := w.writeHolder(); err != nil {
		release()
		return nil, err
	}
	if err := w.clear(ctx); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// holder reads who holds the lock. The file is written in place: replacing it would replace the lock.
func (w *Workspace) holder() (*BusyError, error) {
	b, err := os.ReadFile(w.path("lock"))
	if err != nil {
		return nil, err
	}
	e := new(BusyError)
	return e, json.Unmarshal(b, &e.Holder)
}

func (w *Workspace) writeHolder() error {
	b, err := json.Marshal(w.self())
	if err != nil {
		return err
	}
	return os.WriteFile(w.path("lock"), b, 0o600)
}

// clear reports what an interrupted command left behind and kills providers whose Terraform has died. A running
// Terraform belongs to another command; clear then fails.
func (w *Workspace) clear(ctx context.Context) error {
	all, err := w.settled(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.orphan {
			w.Log(fmt.Sprintf("ending the provider %s (process %d), which an interrupted command left behind", p.program, p.pid))
			p.kill()
		}
	}
	broken, err := w.interrupted()
	if err != nil {
		return err
	}
	for _, k := range broken {
		w.Log(fmt.Sprintf("%s was interrupted; the next apply repairs what it left", k))
	}
	return w.clearNote(len(broken) > 0)
}

// dying is how long a Terraform may survive its killed parent, until the kernel kills it.
const dying = 2 * time.Second

// settled lists the processes in the folder once none of them is Terraform.
func (w *Workspace) settled(ctx context.Context) ([]process, error) {
	for deadline := time.Now().Add(dying); ; {
		all, err := w.processes()
		if err != nil {
			return nil, fmt.Errorf("look for processes: %w", err)
		}
		i := slices.IndexFunc(all, func(p process) bool { return !p.provider })
		if i < 0 {
			return all, nil
		}
		if time.Now().After(deadline) {
			return nil, &BusyError{core.Holder{What: all[i].program, PID: all[i].pid, Since: all[i].since}}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// clearNote removes the lock info file that a killed Terraform left beside a local state. The lock itself died with its
// holder. Logged only if the holder was not a command of ours.
func (w *Workspace) clearNote(known bool) error {
	file := filepath.Join(w.Dir, ".terraform.tfstate.lock.info")
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var note struct{ Operation, Who, Created string }
	if json.Unmarshal(b, &note) == nil && !known {
		w.Log(fmt.Sprintf("%s by %s, begun %s, was interrupted; the next apply repairs what it left",
			note.Operation, note.Who, note.Created))
	}
	return os.Remove(file)
}

// process is a Terraform or a provider.
type process struct {
	pid      int
	program  string
	dir      string // its working folder
	since    time.Time
	provider bool
	orphan   bool // its Terraform has died
}

// processes lists the Terraform and provider processes in the folder.
func (w *Workspace) processes() ([]process, error) {
	all, err := terraforms()
	return slices.DeleteFunc(all, func(p process) bool { return p.dir != w.Dir }), err
}

func isTerraform(program string) bool { return program == "terraform" || program == "tofu" }
