package proc

// unmapProgram does nothing: agents run on Linux.
func unmapProgram() {}
