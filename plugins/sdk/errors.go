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

// BadAttr returns an error of Check for an attribute, a block or an element: "address", "canary.watch", "rule[1].paths[0]".
// An empty path means the stage itself. Combine several with errors.Join. Errors about attributes with unknown values are
// dropped until the values are known.
func BadAttr(path, format string, args ...any) error {
	return &attrError{path: path, detail: fmt.Sprintf(format, args...)}
}

// Failf returns an error of Run for a gate's negative verdict. Any other error means that the stage could not do its work.
func Failf(format string, args ...any) error {
	return &contract.Failure{Reason: fmt.Sprintf(format, args...)}
}

// Skipf returns an error of Run for a stage that had nothing to do, with the reason. It is not a failure.
func Skipf(format string, args ...any) error {
	return &contract.SkipError{Reason: fmt.Sprintf(format, args...)}
}

// Error kinds that survive the protocol in both directions. Compare with errors.Is.
var (
	ErrNotFound    = contract.ErrNotFound    // unknown name
	ErrRefused     = contract.ErrRefused     // permanent: do not retry
	ErrUnavailable = contract.ErrUnavailable // temporary: a retry may succeed
)

// NotFoundError is an error of kind ErrNotFound that names what was requested.
type NotFoundError = contract.NotFoundError

// ExitError: a command ended with a status other than 0.
type ExitError struct {
	Code int      // -1: killed by a signal
	Args []string // the command
	Last []string // last lines of output, oldest first
	Text string   // "exit status 2", "signal: killed"
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

// attrErrors splits a joined error into its attrErrors and the rest.
func attrErrors(err error) (attrs []*attrError, rest error) {
	switch e := err.(type) { //nolint:errorlint // walks the tree to inspect each leaf
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
