package terraform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/seed-b96de936/troop/core"
)

// Apply applies a plan; an empty one only takes what changed outside into the state. It fails if the saved plan has changed or is stale. It first copies the state and frees the lock
// that the plan names as left by an interrupted command. each receives every step, from one goroutine; it may be nil.
//
// When ctx ends, Terraform finishes its current step. After a killed apply, the next Plan shows what is left to do and
// the next Apply repairs it.
func (w *Workspace) Apply(ctx context.Context, p *Plan, each func(Progress)) error {
	if p.Empty() && len(p.Drift)+len(p.Computed) == 0 {
		return nil
	}
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if p.Empty() { // what was changed or computed outside fits the module, or is not its business
		return w.settle(ctx, p)
	}
	b, err := os.ReadFile(w.path("plan"))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoPlan
	} else if err != nil {
		return err
	}
	if core.DigestOf(b) != p.File {
		return &StaleError{}
	}
	if err := w.unlock(ctx, p.Lock); err != nil {
		return err
	}
	known := map[core.HostName]bool{}
	for _, c := range p.Changes {
		known[c.Host] = true
	}
	out := &messages{log: w.Log, each: func(step Progress) {
		if !known[step.Host] {
			step.Host = ""
		}
		if each != nil {
			each(step)
		}
	}}
	file := w.path("applying")
	options := []tfexec.ApplyOption{tfexec.DirOrPlan(file)}
	again, err := w.writeEphemeral()
	if err != nil {
		return err
	}
	if again != "" {
		defer func() { _ = os.Remove(again) }() // may hold secrets
		options = append(options, tfexec.VarFile(again))
	}
	// A plan can be tried once: even a failed or killed apply makes it stale.
	if err := w.Forget(); err != nil {
		return err
	}
	if err := writeFile(file, b); err != nil {
		return err
	}
	err = w.locking(ctx, func(tf *tfexec.Terraform) error {
		if _, err := w.setAside(ctx, tf); err != nil {
			return err
		}
		return tf.ApplyJSON(ctx, out, options...)
	})
	if e := os.Remove(file); e != nil {
		return errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("apply: %w", w.attribute(out.explain(ctx, err)))
	}
	approval, err := w.used(p)
	if err != nil {
		return err
	}
	if err := w.keep(p, approval, time.Now()); err != nil {
		return err
	}
	return w.settle(ctx, p)
}

// settle reads all resources once more and records what the provider has computed since it made them, such as a route
// table's routes: without it, the next command would take that for somebody's change. The providers of Options.Providers
// compute nothing later. It also records what was applied, for Drift.
func (w *Workspace) settle(ctx context.Context, p *Plan) error {
	if p.Destroy {
		return remove(w.path("applied"))
	}
	if len(p.Changes)+len(p.Drift)+len(p.Computed) > 0 && len(w.Providers) == 0 {
		variables, err := w.writeVariables()
		if err != nil {
			return err
		}
		defer func() { _ = os.Remove(variables) }()
		out := &messages{log: w.Log}
		err = w.locking(ctx, func(tf *tfexec.Terraform) error { return tf.RefreshJSON(ctx, out, tfexec.VarFile(variables)) })
		if err != nil { // everything is applied
			w.Log(fmt.Sprintf("everything is applied, but it could not be read once more: %v", w.attribute(out.explain(ctx, err))))
		}
	}
	return writeFile(w.path("applied"), []byte(p.Inputs))
}

func remove(file string) error {
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
