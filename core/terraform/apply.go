package terraform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/seed-b96de936/troop/core"
)

// backups is how many states from before an apply are kept.
const backups = 20

// Apply does what the plan says. It is refused when the saved plan is another one by now, or stale. The state is
// copied aside first. Each gets every step, from one goroutine; it may be nil.
//
// When ctx ends, Terraform winds up what it has begun. What an apply that was killed has left behind, the next
// Plan shows and the next Apply mends.
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
	if digest(b) != p.File {
		return &StaleError{}
	}
	if err := w.backup(); err != nil {
		return fmt.Errorf("copy state aside: %w", err)
	}
	known := map[core.HostName]bool{}
	for _, c := range p.Changes {
		known[c.Host] = true
	}
	out := &messages{dir: w.Dir, log: w.Log, each: func(step Progress) {
		if !known[step.Host] {
			step.Host = ""
		}
		if each != nil {
			each(step)
		}
	}}
	// A plan is good for one try: what it did until it failed, or was killed, makes it stale.
	if err := w.Forget(); err != nil {
		return err
	}
	file := w.path("applying")
	if err := writeFile(file, b); err != nil {
		return err
	}
	err = w.run(ctx, func(tf *tfexec.Terraform) error {
		return tf.ApplyJSON(ctx, out, tfexec.DirOrPlan(file))
	})
	if e := os.Remove(file); e != nil {
		return errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("apply: %w", out.explain(ctx, err))
	}
	return w.used(p)
}

// backup copies the local state aside. A module that keeps its state elsewhere has versions there.
func (w *Workspace) backup() error {
	b, err := os.ReadFile(filepath.Join(w.Dir, "terraform.tfstate"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := os.MkdirAll(w.path("backups"), 0o700); err != nil {
		return err
	}
	name := time.Now().UTC().Format("20060102T150405.000000000Z") + ".tfstate"
	if err := writeFile(w.path("backups", name), b); err != nil {
		return err
	}
	old, err := filepath.Glob(w.path("backups", "*.tfstate"))
	if err != nil {
		return err
	}
	slices.Sort(old)
	for _, file := range old[:max(0, len(old)-backups)] {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}
