package environment

import (
	"context"
	"errors"

	"github.com/seed-b96de936/troop/core/terraform"
)

// State returns the present Terraform state.
func (e *Environment) State(ctx context.Context) (*terraform.State, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.State(ctx)
}

// Copies lists the copies of the state, newest first, without opening a workspace.
func (e *Environment) Copies() ([]terraform.Copy, error) { return terraform.Copies(e.terraformDir()) }

// Copied returns the state of a copy.
func (e *Environment) Copied(ctx context.Context, number int) (*terraform.State, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.Copied(ctx, number)
}

// Restore replaces the state with a copy and records the copy's hosts. It changes no host.
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
