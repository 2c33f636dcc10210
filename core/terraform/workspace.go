// Package terraform makes the hosts of an environment: it plans, reviews, applies and destroys a root module, and reads
// the hosts from its output. It runs the Terraform or OpenTofu installed on this machine and is the only package that
// imports terraform-exec and terraform-json. core/environment imports it.
package terraform

import (
	"cmp"
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

// Options configure a workspace.
type Options struct {
	// Dir is the working folder: a copy of the module and the local state. Open makes it if missing.
	Dir string
	// Module is the root module, as ReadBy returns it. It must not refer to files outside itself.
	Module fs.FS
	// Program is terraform or tofu; empty: the one that is installed.
	Program string
	// Environment and PublicKey are the values of the variables "environment" and "ssh_public_key" for modules that
	// declare them.
	Environment, PublicKey string
	// Project is the value of "troop_project", for modules that declare it: what tells the project from others on one
	// machine. Empty: Dir does, so that the variable has its default.
	Project string
	// Variables are the manifest's. The module must declare each.
	Variables map[string]any
	// Backend is where the state is kept; nil: the module's own backend, or Dir.
	Backend *core.Backend
	// Providers are binaries by source address that Terraform uses instead of a registry.
	Providers map[string]string
	// Origin is what plans are made from; its version of Terraform is filled in.
	Origin Origin
	// Tagged lists what carries the environment's tags at the provider, to find what no state knows; nil: nobody can. Optional.
	Tagged func(context.Context) ([]core.Tagged, error)
	// Arguments select the environment in commands that messages suggest; empty: --env and its name.
	Arguments string
	// Rules judge plans; nil: none.
	Rules Rules
	// Secrets are values to hide even if Terraform does not mark them as sensitive.
	Secrets []string
	// What is the command that opens the workspace, such as "troop apply", and Run its run, if any. Both are stored with
	// locks and with copies of the state.
	What string
	Run  core.RunID
	// Log receives lines for the user: what an interrupted command left behind, Terraform's warnings. Optional.
	Log func(line string)
}

// Workspace is one root module with its state. Its methods may be called from several goroutines and processes; one that
// changes something fails with a *BusyError while another one does.
type Workspace struct {
	Options
	exe string
}

// Open prepares a workspace. It touches only its folder and runs only `terraform version`.
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
	// Processes are found by their working folder, which the kernel reports without symlinks.
	if o.Dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	exe, version, err := find(ctx, o.Program)
	if err != nil {
		return nil, err
	}
	o.Origin.Terraform = version
	if names := ignored(os.Environ()); len(names) > 0 {
		o.Log(fmt.Sprintf("%s in the environment is ignored: variables and state are those of the manifest", list(names)))
	}
	return &Workspace{Options: o, exe: exe}, nil
}

// own is the folder of our own files inside a working folder.
const own = ".troop"

func (w *Workspace) path(elem ...string) string {
	return filepath.Join(append([]string{w.Dir, own}, elem...)...)
}

// arguments select the environment in commands that messages suggest.
func (w *Workspace) arguments() string { return cmp.Or(w.Arguments, " --env "+w.Environment) }

// interruptGrace is the time between the interrupt and the kill of a Terraform that does not end.
const interruptGrace = 30 * time.Second

// run calls f with a Terraform. When ctx ends, Terraform is interrupted, and killed after interruptGrace. Terraform dies
// with this process: terraform-exec sets PDEATHSIG, which refers to the *thread* that starts Terraform, so that thread
// must live as long as f.
func (w *Workspace) run(ctx context.Context, f func(*tfexec.Terraform) error) error {
	return w.runIn(ctx, w.Dir, f)
}

func (w *Workspace) runIn(ctx context.Context, dir string, f func(*tfexec.Terraform) error) error {
	tf, err := tfexec.NewTerraform(dir, w.exe)
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
