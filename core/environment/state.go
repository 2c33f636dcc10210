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

// Restore replaces the state with a copy and records the copy's hosts, once agree has agreed to the difference; nil: the
// present state is damaged. Where both say the same it does neither. It changes no host.
func (e *Environment) Restore(ctx context.Context, number int, agree func(*terraform.Difference) error) (restored bool, err error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return false, err
	}
	copied, err := w.Copied(ctx, number)
	if err != nil {
		return false, err
	}
	var d *terraform.Difference
	present, err := w.State(ctx)
	if err == nil {
		differs := terraform.Diff(present, copied)
		d = &differs
	} else if !errors.As(err, new(*terraform.DamagedError)) {
		return false, err
	}
	if err := agree(d); err != nil || d != nil && d.Empty() {
		return false, err
	}
	if err := w.Restore(ctx, number); err != nil {
		return false, err
	}
	return true, e.recordPresent(ctx, w)
}

// Recover writes the state that the last apply could not write to its backend, once agree has agreed to what it adds, and
// records its hosts. Without such a state the error is terraform.ErrNotErrored.
func (e *Environment) Recover(ctx context.Context, agree func(terraform.Difference) error) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	errored, err := w.Errored(ctx)
	if err != nil {
		return err
	}
	present, err := w.State(ctx)
	if err != nil {
		return err
	}
	if err := agree(terraform.Diff(present, errored)); err != nil {
		return err
	}
	if err := w.Recover(ctx); err != nil {
		return err
	}
	return e.recordPresent(ctx, w)
}

// Recovering calls plan. If the last apply could not write its state, that is recovered first.
func (e *Environment) Recovering(
	ctx context.Context, agree func(terraform.Difference) error, plan func(context.Context) (*terraform.Plan, error),
) (*terraform.Plan, error) {
	p, err := plan(ctx)
	if !errors.As(err, new(*terraform.ErroredError)) {
		return p, err
	}
	if err := e.Recover(ctx, agree); err != nil {
		return nil, err
	}
	return plan(ctx)
}

// Migrate moves the state to where the manifest or the module keeps it now, once agree has agreed, and records its hosts.
func (e *Environment) Migrate(ctx context.Context, agree func(terraform.Migration) error) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	if err := w.Migrate(ctx, agree); err != nil {
		return err
	}
	return e.recordPresent(ctx, w)
}

// recordPresent records the hosts of the present state, or that there are none.
func (e *Environment) recordPresent(ctx context.Context, w *terraform.Workspace) error {
	err := e.record(ctx, w)
	if errors.Is(err, terraform.ErrNoHosts) {
		return e.forget()
	}
	return err
}

// Compare returns what turns one copy of the state into another; with one copy or none, the copy or the newest one into
// the present state.
func (e *Environment) Compare(ctx context.Context, numbers ...int) (terraform.Difference, error) {
	if len(numbers) == 0 {
		all, err := e.Copies()
		if err == nil && len(all) == 0 {
			err = errors.New("there is no copy of the state yet; one is made before every apply")
		}
		if err != nil {
			return terraform.Difference{}, err
		}
		numbers = []int{all[0].Number}
	}
	w, err := e.terraform(ctx)
	if err != nil {
		return terraform.Difference{}, err
	}
	from, err := w.Copied(ctx, numbers[0])
	if err != nil {
		return terraform.Difference{}, err
	}
	var to *terraform.State
	if len(numbers) > 1 {
		to, err = w.Copied(ctx, numbers[1])
	} else {
		to, err = w.State(ctx)
	}
	if err != nil {
		return terraform.Difference{}, err
	}
	return terraform.Diff(from, to), nil
}
