package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/preflight"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (a *app) preflightCmd() *cobra.Command {
	return &cobra.Command{
		Use: "preflight [MANIFEST]", Short: "Find what would keep an environment's hosts from being made",
		Long: `Preflight looks at what an environment needs, and changes nothing: programs on this machine, and whatever the
providers that the environment's Terraform module requires need to make hosts: an account, a region, an image, addresses
that are free. What fails is printed with its remedy, and the exit status is 1.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, conf, err := a.loadEnvironment(args)
			if err != nil {
				return err
			}
			if conf.Terraform == nil {
				return fmt.Errorf("environment %s has no terraform block, so that there is nothing to make", conf.Name)
			}
			f := flight{app: a, p: p.Pipeline, conf: conf, Environment: conf.Name, Status: core.Passed, Checks: []core.Check{}}
			if err := f.look(c.Context()); err != nil {
				return err
			}
			return f.end()
		},
	}
}

// flight is one preflight, and with --json the answer.
type flight struct {
	app  *app
	p    *core.Pipeline
	conf core.Environment

	Environment string       `json:"environment"`
	Status      core.Status  `json:"status"`
	Checks      []core.Check `json:"checks"`
}

func (f *flight) take(c core.Check) {
	if c.Status == core.Failed {
		f.Status = core.Failed
	}
	f.Checks = append(f.Checks, c)
	f.app.ui.Check(c)
}

func (f *flight) run(ctx context.Context, steps ...preflight.Step) error {
	return preflight.Run(ctx, steps, f.app.ui.Checking, f.take)
}

// look takes all steps: of this machine, and of each provider that the module requires.
func (f *flight) look(ctx context.Context) error {
	if err := f.run(ctx, f.programs()...); err != nil {
		return err
	}
	module, err := openModule(f.conf.Terraform)
	if err != nil {
		return err
	}
	request := preflight.Request{}
	if request.Variables, err = terraform.Values(module, f.conf.Terraform.Variables); err != nil {
		return fmt.Errorf("module %s: %w", f.conf.Terraform.Module, err)
	}
	if request.Folder, err = f.folder(); err != nil {
		return err
	}
	sources, err := terraform.Required(module)
	if err != nil {
		return err
	}
	if len(sources) == 0 {
		f.take(core.Check{Name: "providers", Status: core.Skipped, Detail: "the module has no required_providers, which would say what it needs"})
	}
	for _, source := range sources {
		if err := f.provider(ctx, module, source, request); err != nil {
			return err
		}
	}
	return nil
}

func (f *flight) programs() []preflight.Step {
	steps := []preflight.Step{{Name: "terraform", Look: terraform.Find}}
	if f.conf.Ansible != nil {
		steps = append(steps, preflight.Step{Name: "ansible", Look: func(context.Context) (string, error) { return ansible.Find() }})
	}
	return append(steps, preflight.Step{Name: "ssh", Look: func(context.Context) (string, error) {
		path, err := exec.LookPath("ssh")
		if err != nil {
			return "", &preflight.Problem{Text: "there is none in PATH", Remedy: "apt-get install openssh-client"}
		}
		return path, nil
	}})
}

// provider looks at what a provider of the module needs. A source may have its registry before it.
func (f *flight) provider(ctx context.Context, module fs.FS, source string, request preflight.Request) error {
	switch {
	case strings.HasSuffix("/"+source, "/hashicorp/aws"):
		key, err := os.ReadFile(filepath.Join(environmentDir(f.p, f.conf.Name), "ssh_key.pub"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return f.run(ctx, preflight.EC2{
			Environment: f.conf.Name, Variables: request.Variables, Processor: runtime.GOARCH, PublicKey: string(key),
			Managed: func(ctx context.Context) ([]string, error) {
				w, err := terraform.Open(ctx, terraform.Options{
					Dir: request.Folder, Module: module, Environment: f.conf.Name, Variables: f.conf.Terraform.Variables,
					Backend: f.conf.Terraform.Backend,
				})
				if err != nil {
					return nil, err
				}
				return w.IDs(ctx, "aws_instance")
			},
		}.Steps()...)
	case source == labProvider:
		return f.shipped(ctx, module, source, request)
	}
	f.take(core.Check{Name: source, Status: core.Skipped, Detail: "troop does not know what this provider needs"})
	return nil
}

// shipped asks a provider that lies beside troop.
func (f *flight) shipped(ctx context.Context, module fs.FS, source string, request preflight.Request) error {
	var checks []core.Check
	err := f.run(ctx, preflight.Step{Name: "provider", Look: func(ctx context.Context) (string, error) {
		providers, err := localProviders(module)
		if err != nil {
			return "", err
		}
		checks, err = preflight.Provider(ctx, providers[source], request)
		return providers[source], err
	}})
	for _, c := range checks {
		f.take(c)
	}
	return err
}

// folder is where Terraform works, as Terraform will call it.
func (f *flight) folder() (string, error) {
	dir, err := filepath.Abs(f.p.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	return filepath.Join(dir, ".troop", f.conf.Name, "terraform"), err
}

func (f *flight) end() error {
	f.app.ui.JSON(f)
	n := map[core.Status]int{}
	for _, c := range f.Checks {
		n[c.Status]++
	}
	if n[core.Failed] > 0 {
		f.app.ui.Printf("environment %s: %d of %d failed", f.conf.Name, n[core.Failed], len(f.Checks))
		return failed
	}
	if !f.app.quiet {
		f.app.ui.Printf("environment %s: nothing is in the way; troop plan --env %s shows what would be made", f.conf.Name, f.conf.Name)
	}
	return nil
}
