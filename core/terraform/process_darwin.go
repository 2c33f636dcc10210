package terraform

// terraforms finds none: macOS does not reveal the working folder of another process. The lock of the state still works.
func terraforms() ([]process, error) { return nil, nil }

func (process) kill() {}
