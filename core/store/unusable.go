package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
)

// UnusableError says why a store cannot be used as it is set up, and what to do. Trying again does not help.
type UnusableError = bucket.UnusableError

func bad(name, problem, remedy string) error {
	return &UnusableError{Name: name, Problem: problem, Remedy: remedy}
}

// maxClockOff is how far the clock of a machine may be from that of the store. A run's ID begins with its time: with a
// wrong clock, runs would be listed in another order than they were made. Servers refuse requests at 15 minutes.
const maxClockOff = 5 * time.Minute

// checkClock compares this machine's clock with the store's, as its last answer said. It is only asked before anything is
// done: a run does not fail because a clock was set.
func checkClock(o core.Objects) error {
	if a, ok := o.(*Announced); ok {
		o = a.Objects
	}
	if p, ok := o.(Patient); ok {
		o = p.Objects
	}
	s, ok := o.(*S3)
	if !ok {
		return nil
	}
	off := s.bucket.ClockOff()
	if off.Abs() <= maxClockOff {
		return nil
	}
	how := "behind"
	if off < 0 {
		how = "ahead of"
	}
	return bad("the store "+s.bucket.String(), fmt.Sprintf("this machine's clock is %d minutes %s the store's", int(off.Abs().Round(time.Minute).Minutes()), how),
		"set it: timedatectl set-ntp true")
}

// temporary reports whether a request may succeed later.
func temporary(err error) bool {
	return errors.As(err, new(*DamageError)) || bucket.Temporary(err)
}
