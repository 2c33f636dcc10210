// Package preflight finds what would keep an environment from being made, before anything is made: an account, a
// region, an image, programs on this machine. It looks, and changes nothing. It is the only package that asks EC2
// and its neighbours; core/cmd imports it.
package preflight

import (
	"context"
	"errors"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// Step looks at one thing.
type Step struct {
	Name string
	Gate bool // when it fails, those after it in its list cannot look
	// Look says what it found. An error is a *Problem, which has a remedy, a Skip, or anything else that fails the
	// step.
	Look func(context.Context) (found string, err error)
}

// Problem is what a person has to mend.
type Problem struct{ Text, Remedy string }

func (p *Problem) Error() string { return p.Text }

// Skip is the reason why a step has nothing to look at.
type Skip string

func (s Skip) Error() string { return string(s) }

// Run takes the steps one after the other and tells of each before and after. It ends early only with ctx.
func Run(ctx context.Context, steps []Step, before func(name string), after func(core.Check)) error {
	closed := ""
	for _, s := range steps {
		if closed != "" {
			after(core.Check{Name: s.Name, Status: core.Skipped, Detail: "cannot look without " + closed})
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
