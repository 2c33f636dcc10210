package terraform

// terraforms finds none: this system does not tell in which folder another process works. The lock of the state
// stands all the same.
func terraforms() ([]process, error) { return nil, nil }

func (process) kill() {}
