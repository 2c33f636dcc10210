package environment

import (
	"context"
	"errors"

	"github.com/seed-b96de936/troop/core/terraform"
)

// State returns the state of the hosts, as Terraform knows it now.
func (e *Environment) State(ctx context.Context) (*terraform.State, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.State(ctx)
}

// Copies lists the copies of the state, the newest first. It opens nothing.
func (e *Environment) Copies() ([]terraform.Copy, error) { return terraform.Copies(e.terraformDir()) }

// Copied returns the state as a copy has it.
func (e *Environment) Copied(ctx context.Context, number int) (*terraform.State, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.Copied(ctx, number)
}

// Restore puts a copy in the place of the state. It changes no host; those that are recorded from then on are those of
// the copy.
func (e *Environment) Restore(ctx context.Context, number int) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	if err := w.Restore(ctx, number); err != nil {
		return err
	}
	err = e.record(ctx, w)
	if errors.Is(err, terraform.ErrNoHosts) {
		return e.forget()
	}
	return err
}
