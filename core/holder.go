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

// LockedError says that another command holds an environment's lock.
type LockedError struct {
	Environment string
	Holder      Holder
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("environment %s is in use by %s; wait for it, or end that process", e.Environment, e.Holder)
}
