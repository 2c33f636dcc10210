// Package preflight checks the prerequisites of an environment before anything is made: account, region, image, programs
// on this machine. It also finds what an interrupted apply made on EC2 and no state knows; Remove removes that, all else
// changes nothing. It is the only package that calls EC2, STS and Service Quotas. core/environment imports it.
package preflight

import (
	"context"
	"errors"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// Step is one check.
type Step struct {
	Name string
	Gate bool // if it fails, the steps after it in its list are skipped
	// Look returns what it found. A *Problem, which has a remedy, or any other error fails the step; a Skip skips it.
	Look func(context.Context) (found string, err error)
}

// Problem is a failed prerequisite and how to fix it.
type Problem struct{ Text, Remedy string }

func (p *Problem) Error() string { return p.Text }

// Skip is the reason why a step was skipped.
type Skip string

func (s Skip) Error() string { return string(s) }

// Run runs the steps in order and calls before and after around each. It ends early only with ctx.
func Run(ctx context.Context, steps []Step, before func(name string), after func(core.Check)) error {
	closed := ""
	for _, s := range steps {
		if closed != "" {
			after(core.Check{Name: s.Name, Status: core.Skipped, Detail: "cannot be checked without " + closed})
			continue
		}
		before(s.Name)
		found, err := s.Look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c := check(s.Name, found, err)
		if s.Gate && c.Status == core.Failed {
			closed = s.Name
		}
		after(c)
	}
	return nil
}

func check(name, found string, err error) core.Check {
	var (
		skip    Skip
		problem *Problem
		missing *core.NotFoundError
	)
	switch {
	case err == nil:
		return core.Check{Name: name, Status: core.Passed, Detail: found}
	case errors.As(err, &skip):
		return core.Check{Name: name, Status: core.Skipped, Detail: string(skip)}
	case errors.As(err, &problem):
		return core.Check{Name: name, Status: core.Failed, Detail: problem.Text, Remedy: problem.Remedy}
	case errors.As(err, &missing) && missing.Remedy != "":
		return core.Check{Name: name, Status: core.Failed, Detail: strings.TrimSuffix(err.Error(), "; "+missing.Remedy), Remedy: missing.Remedy}
	}
	return core.Check{Name: name, Status: core.Failed, Detail: err.Error()}
}
