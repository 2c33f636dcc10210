package core

import (
	"fmt"
	"time"
)

// Holder is a command that holds a lock, or held it: on an environment, or on the state of its hosts.
type Holder struct {
	What  string    `json:"what"`          // the command, such as "troop apply"
	Run   RunID     `json:"run,omitempty"` // that it is part of, if any
	PID   int       `json:"pid"`           // 0: it has not said yet
	Since time.Time `json:"since"`
}

func (h Holder) String() string {
	if h.PID == 0 {
		return h.What
	}
	s := fmt.Sprintf("%s (process %d, since %s)", h.What, h.PID, h.Since.Local().Format(time.DateTime))
	if h.Run != "" {
		s = fmt.Sprintf("run %s, %s", h.Run, s)
	}
	return s
}

// LockedError says that somebody else works on an environment.
type LockedError struct {
	Environment string
	Holder      Holder
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("environment %s is in use by %s; wait for it, or end that process", e.Environment, e.Holder)
}
