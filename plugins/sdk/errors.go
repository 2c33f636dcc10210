package sdk

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// attrError is a mistake in one attribute of the configuration.
type attrError struct{ path, detail string }

func (e *attrError) Error() string {
	if e.path == "" {
		return e.detail
	}
	return e.path + ": " + e.detail
}

// BadAttr is the error by which Check points at an attribute, a block or an element: "address", "canary.watch",
// "rule[1].paths[0]". An empty path points at the stage itself. Several are combined with errors.Join. A
// complaint about an attribute whose value is not known before the run is dropped until it is known.
func BadAttr(path, format string, args ...any) error {
	return &attrError{path: path, detail: fmt.Sprintf(format, args...)}
}

// Failf is the error by which Run says that a gate refuses: the stage worked, and the answer is no. The reason is for
// people. Any other error says that the stage could not do its work.
func Failf(format string, args ...any) error {
	return &contract.Failure{Reason: fmt.Sprintf(format, args...)}
}

// Skipf is the error by which Run says that there was nothing to do, and why. It is no failure.
func Skipf(format string, args ...any) error {
	return &contract.SkipError{Reason: fmt.Sprintf(format, args...)}
}

// The kinds of errors that keep their meaning between a plugin and the core, in both directions. Compare with errors.Is.
var (
	ErrNotFound    = contract.ErrNotFound    // nothing has that name
	ErrRefused     = contract.ErrRefused     // asking again gives the same answer
	ErrUnavailable = contract.ErrUnavailable // asking again later may help
)

// NotFoundError is an error of the kind ErrNotFound that says what was asked for.
type NotFoundError = contract.NotFoundError

// ExitError says that a command ended with a status other than 0.
type ExitError struct {
	Code int      // -1: ended by a signal
	Args []string // the command
	Last []string // the last lines that it wrote, oldest first
	Text string   // how it ended: "exit status 2", "signal: killed"
}

func (e *ExitError) Error() string {
	name := "command"
	if len(e.Args) > 0 {
		name = e.Args[0]
	}
	s := name + ": " + e.Text
	if len(e.Last) > 0 {
		s += ": " + strings.TrimSpace(e.Last[len(e.Last)-1])
	}
	return s
}

// attrErrors collects the attrErrors of a joined error, and joins what is not one.
func attrErrors(err error) (attrs []*attrError, rest error) {
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand: each leaf is looked at
	case nil:
		return nil, nil
	case *attrError:
		return []*attrError{e}, nil
	case interface{ Unwrap() []error }:
		var others []error
		for _, x := range e.Unwrap() {
			a, r := attrErrors(x)
			attrs = append(attrs, a...)
			if r != nil {
				others = append(others, r)
			}
		}
		return attrs, errors.Join(others...)
	}
	if a := (*attrError)(nil); errors.As(err, &a) {
		return []*attrError{{path: a.path, detail: strings.Replace(err.Error(), a.Error(), a.detail, 1)}}, nil
	}
	return nil, err
}
