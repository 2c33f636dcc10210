package contract

import (
	"errors"
	"fmt"
)

// Error kinds that survive the protocol in both directions, like context.Canceled and context.DeadlineExceeded. Compare with
// errors.Is. The text of an error always survives.
var (
	// ErrNotFound: the requested name or digest does not exist. A *NotFoundError is of this kind.
	ErrNotFound = errors.New("not found")
	// ErrRefused: the caller may not do this. A retry gives the same result.
	ErrRefused = errors.New("refused")
	// ErrUnavailable: a service behind the call cannot be reached now. A later retry may succeed.
	ErrUnavailable = errors.New("unavailable")
)

// Error is an error of a kind with its own text.
type Error struct {
	Kind error // ErrRefused, …
	Text string
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.Kind }

// NotGranted returns the error for a capability that the manifest does not grant to the stage.
func NotGranted(c Capability) error {
	return &Error{ErrRefused, fmt.Sprintf("the manifest does not grant %q to this stage: grants = [%q]", c, c)}
}

// NotFoundError: the requested name does not exist.
type NotFoundError struct {
	What, Name string
	Remedy     string
}

func (e *NotFoundError) Error() string {
	s := e.What + " " + e.Name + " not found"
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Is reports whether target is ErrNotFound.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// Failure is a stage's own negative verdict: it ran, and the result is not acceptable.
type Failure struct {
	Reason      string
	Diagnostics Diagnostics
}

func (f *Failure) Error() string { return f.Reason }

// SkipError is a stage's own verdict: there was nothing to do.
type SkipError struct{ Reason string }

func (s *SkipError) Error() string { return s.Reason }
