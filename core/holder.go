package core

import (
	"fmt"
	"time"
)

// Holder is a command that holds or held a lock on an environment or on its Terraform state.
type Holder struct {
	What  string    `json:"what"`          // the command, such as "troop apply"
	Run   RunID     `json:"run,omitempty"` // the run it belongs to, if any
	PID   int       `json:"pid"`           // 0: not recorded yet
	Since time.Time `json:"since"`

	By      string `json:"by,omitempty"`      // the person
	Machine string `json:"machine,omitempty"` // its host name, where several machines share an environment
}

func (h Holder) String() string {
	if h.PID == 0 {
		return h.What
	}
	s := fmt.Sprintf("%s (process %d, since %s)", h.What, h.PID, h.Since.Local().Format(time.DateTime))
	if h.Machine != "" {
		s = fmt.Sprintf("%s (%s on %s, process %d, since %s)", h.What, h.By, h.Machine, h.PID, h.Since.Local().Format(time.DateTime))
	}
	if h.Run != "" {
		s = fmt.Sprintf("run %s, %s", h.Run, s)
	}
	return s
}

// LockedError says that another command holds an environment's lock.
type LockedError struct {
	Environment string
	Holder      Holder
}

func (e *LockedError) Error() string {
	remedy := "end that process"
	if e.Holder.Machine != "" {
		remedy = "ask " + e.Holder.By
	}
	return fmt.Sprintf("environment %s is in use by %s; wait for it, or %s", e.Environment, e.Holder, remedy)
}

// Lease is the right to change an environment, which one holder has at a time.
type Lease struct {
	// Fence grows by one with each holder. What steers hosts carries it, so that they refuse what an earlier holder says.
	Fence int64
	// After names a holder that was gone without giving its lease back; nil: there was none.
	After *Holder
	// Lost is closed when somebody else has, or may have, the environment: the holder has to stop at the next safe
	// point. Nil: that cannot happen.
	Lost <-chan struct{}
	// Release gives the lease back. Twice is harmless.
	Release func() error
}

// LostError says that a command has lost its lease on an environment.
type LostError struct{ Environment string }

func (e *LostError) Error() string {
	return fmt.Sprintf("the lease on environment %s is lost: the store could not be reached for too long, or somebody freed it; stopping before somebody else's work is disturbed", e.Environment)
}
