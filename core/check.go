package core

// Check is the result of checking one thing that an environment needs.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`           // passed, failed or skipped
	Detail string `json:"detail,omitempty"` // what was found, or why it was skipped
	Remedy string `json:"remedy,omitempty"` // how to fix a failed check
}
