package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/seed-b96de936/troop/core"
)

// prepare updates the working folder, and runs `terraform init` if anything that init depends on has changed since it
// last succeeded. The caller holds the lock.
func (w *Workspace) prepare(ctx context.Context) error {
	module, err := w.sync()
	if err != nil {
		return err
	}
	providers, err := w.mirror()
	if err != nil {
		return err
	}
	config, err := w.writeCLIConfig(providers)
	if err != nil {
		return err
	}
	program, err := os.Stat(w.exe)
	if err != nil {
		return err
	}
	inputs, err := json.Marshal([]any{module, providers, core.DigestOf(config), w.exe, program.Size(), program.ModTime()})
	if err != nil {
		return err
	}
	if w.initialised(core.DigestOf(inputs)) {
		return nil
	}
	if err := w.strike(providers); err != nil {
		return fmt.Errorf("update %s: %w", lockFile, err)
	}
	if err := w.run(ctx, func(tf *tfexec.Terraform) error { return tf.Init(ctx, tfexec.Upgrade(false)) }); err != nil {
		at, _ := w.presentLocation() // one that troop cannot read has no bucket that it could name
		return fmt.Errorf("initialise terraform: %w", w.backendError(at, err))
	}
	if err := w.removeOldMirrors(providers); err != nil {
		return fmt.Errorf("remove old providers: %w", err)
	}
	// A module without providers has no such folder.
	if err := os.MkdirAll(filepath.Dir(w.initMark()), 0o755); err != nil {
		return err
	}
	return writeFile(w.initMark(), []byte(core.DigestOf(inputs)))
}

// initMark is inside the folder that init fills, so that both disappear together.
func (w *Workspace) initMark() string { return filepath.Join(w.Dir, ".terraform", "troop") }

func (w *Workspace) initialised(inputs core.Digest) bool {
	b, err := os.ReadFile(w.initMark())
	return err == nil && core.Digest(b) == inputs
}

func (w *Workspace) strike(providers map[string]core.Digest) error {
	file := filepath.Join(w.Dir, lockFile)
	old, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	b, err := unlock(old, slices.Collect(maps.Keys(providers)))
	if err != nil {
		return err
	}
	return writeFile(file, b)
}

func (w *Workspace) removeOldMirrors(providers map[string]core.Digest) error {
	entries, err := os.ReadDir(w.path("mirror"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var keep []string
	for _, d := range providers {
		keep = append(keep, filepath.Base(w.mirrorDir(d)))
	}
	for _, e := range entries {
		if !slices.Contains(keep, e.Name()) {
			if err := os.RemoveAll(w.path("mirror", e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
