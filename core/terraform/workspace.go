// Package terraform makes the hosts of an environment: it plans, reviews, applies and destroys a root module,
// and reads the hosts from its output. It drives the Terraform or OpenTofu of this machine and is the only package
// that imports terraform-exec and terraform-json. core/environment imports it.
package terraform

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/seed-b96de936/troop/core"
)

// Options say what a workspace is for.
type Options struct {
	// Dir is where the module is copied to and Terraform works; it keeps the state. It is made when missing.
	Dir string
	// Module is the root module. It must not refer to files outside itself.
	Module fs.FS
	// Environment and PublicKey are the variables "environment" and "ssh_public_key", which every module gets
	// that declares them.
	Environment, PublicKey string
	// Variables are those of the manifest. Each must be declared by the module.
	Variables map[string]any
	// Backend is where the state is kept; nil: where the module says, or in Dir.
	Backend *core.Backend
	// Providers are binaries that Terraform uses instead of asking a registry, by source address.
	Providers map[string]string
	// Origin is what plans are made from; which Terraform makes them is filled in.
	Origin Origin
	// Rules are the team's own for plans; nil: there are none.
	Rules Rules
	// Secrets are values that are never shown, whatever Terraform says of them.
	Secrets []string
	// What is the command that the workspace is opened for, such as "troop apply", and Run the run that it is part
	// of, if any. Both are kept with the copies of the state, and for those who find its lock.
	What string
	Run  core.RunID
	// Log takes what a person should know: what an interrupted command left behind, warnings of Terraform.
	// Optional.
	Log func(line string)
}

// Workspace is one root module with its state. Its methods may be called from several goroutines and processes:
// those that change something are refused while another one does.
type Workspace struct {
	Options
	exe string
}

// Open prepares a workspace; nothing is touched beyond its folder, and no command of Terraform runs but version.
func Open(ctx context.Context, o Options) (*Workspace, error) {
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if err := Check(o.Module, o.Variables); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, own), 0o700); err != nil {
		return nil, fmt.Errorf("make terraform folder: %w", err)
	}
	// Processes are found by their working folder, which has no symlinks in it.
	if o.Dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	exe, version, err := find(ctx)
	if err != nil {
		return nil, err
	}
	o.Origin.Terraform = version
	return &Workspace{Options: o, exe: exe}, nil
}

// own is the folder for our files inside a working folder.
const own = ".troop"

func (w *Workspace) path(elem ...string) string {
	return filepath.Join(append([]string{w.Dir, own}, elem...)...)
}

// interruptGrace is how long Terraform may take to end after an interrupt, before it is killed.
const interruptGrace = 30 * time.Second

// run calls f with a Terraform. When ctx ends, Terraform is interrupted, and killed after interruptGrace. It
// dies with this process: terraform-exec asks the kernel for that, in the name of the *thread* that starts
// Terraform, which therefore must live as long as f.
func (w *Workspace) run(ctx context.Context, f func(*tfexec.Terraform) error) error {
	tf, err := tfexec.NewTerraform(w.Dir, w.exe)
	if err != nil {
		return err
	}
	if err := tf.SetEnv(w.env(os.Environ())); err != nil {
		return err
	}
	if err := tf.SetWaitDelay(interruptGrace); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := f(tf); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		return err
	}
	return nil
}
