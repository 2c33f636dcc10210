package core

// Check is what was found out about one thing that an environment needs.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`           // passed, failed or skipped
	Detail string `json:"detail,omitempty"` // what was found, or why nobody looked
	Remedy string `json:"remedy,omitempty"` // of what failed
}
