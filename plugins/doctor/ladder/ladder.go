// Package ladder decides what to do with a hog, and when: alert, renice, terminate, kill, step by step within a budget. It
// has no side effects, so that a recording can be replayed. The doctor's agent and its action rehearse run it; the doctor
// plugin imports it.
package ladder

import (
	"errors"
	"fmt"
	"slices"
)

// Step is one step of the treatment.
type Step string

// The steps. Restart is not on the ladder: it replaces Terminate and Kill for a unit that the manifest names.
const (
	Alert     Step = "alert"
	Renice    Step = "renice"
	Limit     Step = "limit"
	Terminate Step = "terminate"
	Kill      Step = "kill"
	Restart   Step = "restart"
)

// Niced is the nice value of Renice, the lowest priority.
const Niced = 19

// Parse parses the manifest's list of steps: in order, the alert first, SIGTERM before SIGKILL. An empty list is an unknown
// value.
func Parse(names []string) ([]Step, error) {
	all := []Step{Alert, Renice, Limit, Terminate, Kill}
	var steps []Step
	at := -1
	for _, n := range names {
		i := slices.Index(all, Step(n))
		if i < 0 {
			return nil, fmt.Errorf("want steps of %v, got %q", all, n)
		}
		if i <= at {
			return nil, fmt.Errorf("%q comes too late: the order is %v", n, all)
		}
		at = i
		steps = append(steps, Step(n))
	}
	if len(steps) > 0 && steps[0] != Alert {
		return nil, errors.New(`the first step must be "alert": people are notified before any action`)
	}
	if slices.Contains(steps, Kill) && !slices.Contains(steps, Terminate) {
		return nil, errors.New(`"kill" needs "terminate" before it, so that a process can end by itself`)
	}
	return steps, nil
}
