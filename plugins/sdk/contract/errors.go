package contract

import (
	"errors"
	"fmt"
)

// The kinds of errors that survive the protocol, in both directions: what is returned on one side as such a kind is
// it on the other. Compare with errors.Is. context.Canceled and context.DeadlineExceeded survive, too; the text of an
// error always does.
var (
	// ErrNotFound says that nothing has the name or digest that was asked for. A *NotFoundError is of this kind.
	ErrNotFound = errors.New("not found")
	// ErrRefused says that the caller may not do this. Asking again gives the same answer.
	ErrRefused = errors.New("refused")
	// ErrUnavailable says that something behind the call cannot be reached now. Asking again later may help.
	ErrUnavailable = errors.New("unavailable")
)

// Error is an error of a kind, in words of its own.
type Error struct {
	Kind error // ErrRefused, …
	Text string
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.Kind }

// NotGranted is the refusal of a capability that the manifest does not grant to the stage.
func NotGranted(c Capability) error {
	return &Error{ErrRefused, fmt.Sprintf("the manifest does not grant %q to this stage: grants = [%q]", c, c)}
}

// NotFoundError says that nothing has the name that was asked for.
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

// Is reports whether target is the kind of all such errors.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// Failure is a stage's own verdict: it ran, and says no.
type Failure struct {
	Reason      string
	Diagnostics Diagnostics
}

func (f *Failure) Error() string { return f.Reason }

// SkipError is a stage's own verdict that there was nothing to do.
type SkipError struct{ Reason string }

func (s *SkipError) Error() string { return s.Reason }
