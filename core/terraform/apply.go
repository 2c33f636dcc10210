package terraform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/seed-b96de936/troop/core"
)

// Apply applies a plan. It fails if the saved plan has changed or is stale. It first copies the state and frees the lock
// that the plan names as left by an interrupted command. each receives every step, from one goroutine; it may be nil.
//
// When ctx ends, Terraform finishes its current step. After a killed apply, the next Plan shows what is left to do and
// the next Apply repairs it.
func (w *Workspace) Apply(ctx context.Context, p *Plan, each func(Progress)) error {
	if p.Empty() {
		return nil
	}
	release, err := w.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
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
	// A plan can be tried once: even a failed or killed apply makes it stale.
	if err := w.Forget(); err != nil {
		return err
	}
	file := w.path("applying")
	if err := writeFile(file, b); err != nil {
		return err
	}
	err = w.locking(ctx, func(tf *tfexec.Terraform) error {
		if _, err := w.setAside(ctx, tf); err != nil {
			return err
		}
		return tf.ApplyJSON(ctx, out, tfexec.DirOrPlan(file))
	})
	if e := os.Remove(file); e != nil {
		return errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("apply: %w", w.attribute(out.explain(ctx, err)))
	}
	return w.used(p)
}
