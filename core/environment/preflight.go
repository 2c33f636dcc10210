package environment

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/preflight"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/terraform"
)

// Preflight is what was found out about all that an environment needs.
type Preflight struct {
	Environment string       `json:"environment"`
	Status      core.Status  `json:"status"`
	Checks      []core.Check `json:"checks"`
}

// Failed counts the checks that have failed.
func (p *Preflight) Failed() int {
	n := 0
	for _, c := range p.Checks {
		if c.Status == core.Failed {
			n++
		}
	}
	return n
}

// Preflight looks for what would keep the hosts from being made, and changes nothing: programs on this machine, and
// what the providers of the module need. before is told what is looked at, after what was found, both in order.
func (e *Environment) Preflight(ctx context.Context, before func(name string), after func(core.Check)) (*Preflight, error) {
	t := e.conf.Terraform
	if t == nil {
		return nil, e.errNoTerraform()
	}
	c := checks{environment: e, before: before, after: after, found: &Preflight{Environment: e.conf.Name, Status: core.Passed, Checks: []core.Check{}}}
	if err := c.run(ctx, c.programs()...); err != nil {
		return nil, err
	}
	module, err := openModule(t)
	if err != nil {
		return nil, err
	}
	c.module = module
	if c.request.Variables, err = terraform.Values(module, t.Variables); err != nil {
		return nil, fmt.Errorf("module %s: %w", t.Module, err)
	}
	if c.request.Folder, err = e.terraformFolder(); err != nil {
		return nil, err
	}
	sources, err := terraform.Required(module)
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		c.take(core.Check{Name: "providers", Status: core.Skipped, Detail: "the module has no required_providers, which would say what it needs"})
	}
	for _, source := range sources {
		if err := c.provider(ctx, source); err != nil {
			return nil, err
		}
	}
	return c.found, nil
}

// terraformFolder is where Terraform works, as Terraform itself calls it: without symlinks. It need not exist yet.
func (e *Environment) terraformFolder() (string, error) {
	dir, err := filepath.Abs(e.terraformDir())
	if err != nil {
		return "", err
	}
	rest := ""
	for parent := dir; ; parent = filepath.Dir(parent) {
		real, err := filepath.EvalSymlinks(parent)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if parent == filepath.Dir(parent) {
			return "", err
		}
		rest = filepath.Join(filepath.Base(parent), rest)
	}
}

// checks takes the steps of one preflight.
type checks struct {
	environment *Environment
	module      fs.FS
	request     preflight.Request
	before      func(name string)
	after       func(core.Check)
	found       *Preflight
}

func (c *checks) take(check core.Check) {
	if check.Status == core.Failed {
		c.found.Status = core.Failed
	}
	c.found.Checks = append(c.found.Checks, check)
	c.after(check)
}

func (c *checks) run(ctx context.Context, steps ...preflight.Step) error {
	return preflight.Run(ctx, steps, c.before, c.take)
}

// programs are the steps that look at this machine.
func (c *checks) programs() []preflight.Step {
	steps := []preflight.Step{{Name: "terraform", Look: terraform.Find}}
	if c.environment.conf.Ansible != nil {
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

// provider looks at what a provider of the module needs. Its source may begin with a registry.
func (c *checks) provider(ctx context.Context, source string) error {
	e := c.environment
	switch {
	case strings.HasSuffix("/"+source, "/hashicorp/aws"):
		key, err := remote.PublicKey(e.dir)
		if err != nil {
			return err
		}
		return c.run(ctx, preflight.EC2{
			Environment: e.conf.Name, Variables: c.request.Variables, Processor: runtime.GOARCH, PublicKey: key, Managed: c.instances,
		}.Steps()...)
	case source == labProvider:
		return c.shipped(ctx, source)
	}
	c.take(core.Check{Name: source, Status: core.Skipped, Detail: "troop does not know what this provider needs"})
	return nil
}

// instances are the EC2 instances that the state of the environment knows. It makes no key and wants no provider.
func (c *checks) instances(ctx context.Context) ([]string, error) {
	e := c.environment
	w, err := terraform.Open(ctx, terraform.Options{
		Dir: c.request.Folder, Module: c.module, Environment: e.conf.Name,
		Variables: e.conf.Terraform.Variables, Backend: e.conf.Terraform.Backend, What: e.o.What,
	})
	if err != nil {
		return nil, err
	}
	return w.IDs(ctx, "aws_instance")
}

// shipped asks a provider that belongs to troop.
func (c *checks) shipped(ctx context.Context, source string) error {
	var answers []core.Check
	err := c.run(ctx, preflight.Step{Name: "provider", Look: func(ctx context.Context) (string, error) {
		providers, err := c.environment.o.localProviders(c.module)
		if err != nil {
			return "", err
		}
		answers, err = preflight.Provider(ctx, providers[source], c.request)
		return providers[source], err
	}})
	for _, check := range answers {
		c.take(check)
	}
	return err
}
