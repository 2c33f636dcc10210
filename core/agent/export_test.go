package agent

// SetReadOnly replaces the look at whether a folder exists and is read-only.
func (a *Agent) SetReadOnly(f func(folder string) bool) { a.readOnly = f }

// IsReadOnly is what it replaces.
var IsReadOnly = isReadOnly
