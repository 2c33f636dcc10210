package terraform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/seed-b96de936/troop/core"
)

// Lock is a lock on a state. One in a backend such as S3 remains if Terraform is killed; a local one ends with its
// process.
type Lock struct {
	ID        string       `json:"id,omitempty"` // in the backend; empty: held by a local process
	Who       string       `json:"who,omitempty"`
	Operation string       `json:"operation,omitempty"`
	Since     time.Time    `json:"since"`
	Holder    *core.Holder `json:"holder,omitempty"` // our command that took it, if it ran in this folder
	Abandoned bool         `json:"abandoned"`        // left by an interrupted command in this folder
}

func (l Lock) String() string {
	switch {
	case l.Abandoned:
		return l.Holder.String() + ", which was interrupted"
	case l.Holder != nil:
		return l.Holder.String()
	}
	return fmt.Sprintf("%s (%s, since %s)", l.Who, l.Operation, l.Since.Local().Format(time.DateTime))
}

// LockedError: another command holds the state's lock, or was killed while it held it.
type LockedError struct {
	Lock
	Environment string
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("the state is locked by %s; wait, or when its holder is dead: troop state unlock --env %s",
		e.Lock, e.Environment)
}

var lockInfo = regexp.MustCompile(`(?m)^\s*(ID|Who|Operation|Created):\s*(.*?)\s*$`)

// parseLock parses Terraform's description of a lock.
func parseLock(text string) Lock {
	l := Lock{ID: "unknown", Who: "someone"}
	for _, m := range lockInfo.FindAllStringSubmatch(text, -1) {
		switch m[1] {
		case "ID":
			l.ID = m[2]
		case "Who":
			l.Who = m[2]
		case "Operation":
			l.Operation = m[2]
		case "Created":
			l.Since, _ = time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", m[2])
		}
	}
	return l
}

var decoration = regexp.MustCompile(`\x1b\[[0-9;]*m|[╷│╵]`)

// undecorated strips the decoration from the error of a command without JSON output. An error about a lock becomes a
// *LockedError.
func undecorated(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); err == nil || ok && !exit.Exited() {
		return err
	}
	text := decoration.ReplaceAllString(err.Error(), "")
	if _, info, ok := strings.Cut(text, "Lock Info:"); ok {
		return &LockedError{Lock: parseLock(info)}
	}
	return errors.New(strings.Join(strings.Fields(text), " "))
}

// attribute adds the holder to a *LockedError if the lock was taken from this folder. The caller holds the folder's lock,
// so any earlier holder from this folder is dead.
func (w *Workspace) attribute(err error) error {
	locked, ok := errors.AsType[*LockedError](err)
	if !ok {
		return err
	}
	locked.Environment = w.Environment
	broken, e := w.interrupted()
	if e != nil {
		return errors.Join(err, e)
	}
	if locked.Who != me() {
		return err
	}
	if busy, e := w.sharedNow(); e != nil {
		return errors.Join(err, e)
	} else if busy {
		return err
	}
	for _, k := range broken {
		if !k.Since.After(locked.Since) { // the last one that began before the lock was taken
			locked.Holder, locked.Abandoned = &k, true
		}
	}
	return err
}

// sharedNow reports whether a Terraform uses the same backend from another folder of this machine. The lock, which names
// only user and machine, may be its.
func (w *Workspace) sharedNow() (bool, error) {
	all, err := terraforms()
	if err != nil {
		return false, fmt.Errorf("look for processes: %w", err)
	}
	mine := backendOf(w.Dir)
	return mine != "" && slices.ContainsFunc(all, func(p process) bool {
		return !p.provider && p.dir != w.Dir && backendOf(p.dir) == mine
	}), nil
}

// backendOf returns the backend chosen by the last init in a folder, as text; empty: local.
func backendOf(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, ".terraform", "terraform.tfstate"))
	if err != nil {
		return ""
	}
	var chosen struct {
		Backend struct {
			Type   string          `json:"type"`
			Config json.RawMessage `json:"config"`
		} `json:"backend"`
	}
	var config bytes.Buffer
	if json.Unmarshal(b, &chosen) != nil || json.Compact(&config, chosen.Backend.Config) != nil {
		return ""
	}
	return chosen.Backend.Type + " " + config.String()
}

// me is how Terraform names us in its locks.
func me() string {
	u, err := user.Current()
	host, e := os.Hostname()
	if err != nil || e != nil {
		return ""
	}
	return u.Username + "@" + host
}

// locking is run for Terraform commands that lock the state. A note is written before the command and removed when the
// command ends by itself, which also frees the lock. A remaining note means that the command was interrupted. A command
// that succeeds proves that no earlier one left a lock.
func (w *Workspace) locking(ctx context.Context, f func(*tfexec.Terraform) error) error {
	before, err := w.interrupted()
	if err != nil {
		return err
	}
	if err := w.setInterrupted(append(before, w.self())); err != nil {
		return err
	}
	err = w.run(ctx, f)
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return w.setInterrupted(nil)
	case ctx.Err() != nil, ok && !exit.Exited():
		return err
	case w.errored() != nil: // the backend was away: the lock may be there still
		return err
	}
	return errors.Join(err, w.setInterrupted(before))
}

// interrupted lists the interrupted commands, oldest first.
func (w *Workspace) interrupted() ([]core.Holder, error) {
	b, err := os.ReadFile(w.path("begun.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var begun []core.Holder
	if err := json.Unmarshal(b, &begun); err != nil {
		return nil, fmt.Errorf("read %s: %w", w.path("begun.json"), err)
	}
	return begun, nil
}

func (w *Workspace) setInterrupted(begun []core.Holder) error {
	if len(begun) == 0 {
		if err := os.Remove(w.path("begun.json")); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(begun)
	if err != nil {
		return err
	}
	return writeFile(w.path("begun.json"), b)
}

// planPast runs `terraform plan`. It ignores a lock left by an interrupted command of ours, since a plan changes nothing,
// and returns that lock; Apply frees it.
func (w *Workspace) planPast(ctx context.Context, options []tfexec.PlanOption) (*Lock, error) {
	out := &messages{log: w.Log}
	plan := func(options []tfexec.PlanOption) func(*tfexec.Terraform) error {
		return func(tf *tfexec.Terraform) error {
			_, err := tf.PlanJSON(ctx, out, options...)
			return err
		}
	}
	err := w.locking(ctx, plan(options))
	if err == nil {
		return nil, nil
	}
	err = w.attribute(out.explain(ctx, err))
	locked, ok := errors.AsType[*LockedError](err)
	if !ok || !locked.Abandoned {
		return nil, err
	}
	out = &messages{log: w.Log}
	if err := w.run(ctx, plan(append(options, tfexec.Lock(false)))); err != nil {
		return nil, out.explain(ctx, err)
	}
	return &locked.Lock, nil
}

// unlock frees a lock of the backend, unless it has been replaced.
func (w *Workspace) unlock(ctx context.Context, l *Lock) error {
	if l == nil {
		return nil
	}
	if err := w.run(ctx, func(tf *tfexec.Terraform) error { return tf.ForceUnlock(ctx, l.ID) }); err != nil {
		return fmt.Errorf("free lock of state: %w", undecorated(err))
	}
	w.Log(fmt.Sprintf("freed the lock of the state that was taken by %s", l))
	return nil
}

// Locked returns the lock on the state, or nil.
func (w *Workspace) Locked(ctx context.Context) (*Lock, error) {
	release, err := w.lockWithin(ctx, time.Second)
	if busy, ok := errors.AsType[*BusyError](err); ok {
		return &Lock{Since: busy.Since, Holder: &busy.Holder}, nil
	} else if err != nil {
		return nil, err
	}
	defer release()
	if err := w.prepare(ctx); err != nil {
		return nil, err
	}
	// Terraform has no command to show a lock. This one takes it and changes nothing: the resource does not exist.
	const none = "terraform_data.troop_asks_who_has_the_lock"
	err = w.run(ctx, func(tf *tfexec.Terraform) error {
		return undecorated(tf.Untaint(ctx, none, tfexec.AllowMissing(true)))
	})
	if locked, ok := errors.AsType[*LockedError](w.attribute(err)); ok {
		return &locked.Lock, nil
	} else if err != nil {
		return nil, fmt.Errorf("find lock of state: %w", err)
	}
	return nil, nil
}

// Unlock frees a lock in the backend that Locked returned. It fails while another command works in this folder; the
// caller must know that none works elsewhere.
func (w *Workspace) Unlock(ctx context.Context, l Lock) error {
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	return w.unlock(ctx, &l)
}
