package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// ErroredError: the backend was away when an apply ended, so that Terraform left the state in a file of the folder. Until
// it is in the backend, every plan would make what exists once more.
type ErroredError struct{ File, Arguments string }

func (e *ErroredError) Error() string {
	return fmt.Sprintf("the last apply could not write its state to the backend; it is in %s; take it up: troop state recover%s", e.File, e.Arguments)
}

// erroredFile is where Terraform leaves a state that it cannot write to the backend.
func (w *Workspace) erroredFile() string { return filepath.Join(w.Dir, "errored.tfstate") }

// errored returns an *ErroredError while there is such a file.
func (w *Workspace) errored() error {
	if _, err := os.Stat(w.erroredFile()); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return &ErroredError{w.erroredFile(), w.arguments()}
}

// ErrNotErrored: every apply has written its state to the backend.
var ErrNotErrored = errors.New("there is no state to take up: every apply has written its state")

func (w *Workspace) readErrored() ([]byte, header, error) {
	var h header
	b, err := os.ReadFile(w.erroredFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, h, ErrNotErrored
	}
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil {
		return nil, h, fmt.Errorf("read %s: %w", w.erroredFile(), err)
	}
	return b, h, nil
}

// Errored returns the state that the last apply could not write, or ErrNotErrored.
func (w *Workspace) Errored(ctx context.Context) (*State, error) {
	_, h, err := w.readErrored()
	if err != nil {
		return nil, err
	}
	if err := w.ready(ctx); err != nil {
		return nil, err
	}
	var s *State
	err = w.run(ctx, func(tf *tfexec.Terraform) error {
		s, err = w.show(ctx, tf, w.erroredFile(), h)
		return err
	})
	return s, err
}

// Recover writes the state that the last apply could not write to the backend. It frees the lock that this apply may have
// left, and sets the backend's state aside first. If somebody has changed the backend's state since, it refuses.
func (w *Workspace) Recover(ctx context.Context) error {
	b, h, err := w.readErrored()
	if err != nil {
		return err
	}
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := w.prepare(ctx); err != nil {
		return err
	}
	put := func() error {
		return w.replace(ctx, w.erroredFile(), b, h, func(present header) error {
			if present.Serial >= h.Serial {
				return fmt.Errorf("the backend's state has changed since: its serial is %d, that of %s %d; compare them, and remove the file if it is not needed", present.Serial, w.erroredFile(), h.Serial)
			}
			return nil
		})
	}
	err = put()
	if locked, ok := errors.AsType[*LockedError](err); ok && locked.Abandoned {
		if err = w.unlock(ctx, &locked.Lock); err == nil {
			err = put()
		}
	}
	if err != nil {
		return fmt.Errorf("take up state: %w", err)
	}
	return os.Remove(w.erroredFile())
}
