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

// Preflight is the result of checking an environment's prerequisites.
type Preflight struct {
	Environment string       `json:"environment"`
	Status      core.Status  `json:"status"`
	Checks      []core.Check `json:"checks"`
}

// Failed returns the number of failed checks.
func (p *Preflight) Failed() int {
	n := 0
	for _, c := range p.Checks {
		if c.Status == core.Failed {
			n++
		}
	}
	return n
}

// Preflight checks the prerequisites for making the hosts and for configuring those that exist: programs on this machine,
// what the module's providers need, and, over SSH, what given hosts have. It changes nothing. before is called with the name of each check, after with its result, both in order.
func (e *Environment) Preflight(ctx context.Context, before func(name string), after func(core.Check)) (*Preflight, error) {
	if e.conf.Terraform == nil && len(e.conf.Hosts) == 0 {
		return nil, e.errNoTerraform()
	}
	c := checks{environment: e, before: before, after: after, found: &Preflight{Environment: e.conf.Name, Status: core.Passed, Checks: []core.Check{}}}
	if err := c.run(ctx, c.programs()...); err != nil {
		return nil, err
	}
	if e.conf.Terraform != nil {
		if err := c.providers(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.servers(ctx, e.conf.Hosts); err != nil {
		return nil, err
	}
	return c.found, c.domains(ctx)
}

// domains checks that the names that the environment serves lead to its router.
func (c *checks) domains(ctx context.Context) error {
	e := c.environment
	if e.o.Domains == nil {
		return nil
	}
	d := preflight.Domains{Names: e.o.Domains(e.conf.Name)}
	if hosts, err := e.Hosts(); err == nil {
		router, _ := withRole(hosts, "router")
		d.Router = router.Address
	}
	return c.run(ctx, d.Steps()...)
}

// servers checks the hosts that exist already.
func (c *checks) servers(ctx context.Context, hosts []core.Host) error {
	if len(hosts) == 0 {
		return nil
	}
	e := c.environment
	client, err := e.SSH()
	if err != nil {
		return err
	}
	problem := func(h core.Host, err error) error {
		if err == nil {
			return nil
		}
		text, remedy := client.Explain(h, err)
		return &preflight.Problem{Text: text, Remedy: remedy}
	}
	s := preflight.Servers{
		Hosts: hosts, AppPort: e.appPort(), Services: e.services(), Accessories: e.conf.Accessories, Runtime: nodeHere(ctx),
		Reach: func(ctx context.Context, h core.Host) error {
			_, err := client.Run(ctx, h, "true", nil)
			return problem(h, err)
		},
		Root: func(ctx context.Context, h core.Host, command string) ([]byte, error) {
			if err := client.Root(ctx, h); err != nil {
				return nil, problem(h, err)
			}
			out, err := client.RunRoot(ctx, h, command, nil)
			return out, problem(h, err)
		},
	}
	return s.Check(ctx, c.before, c.take)
}

// services is how many services the pipeline has in the environment: each of its deploy stages is one.
func (e *Environment) services() (n int) {
	for _, s := range e.o.Pipeline.Stages {
		if s.Type == "deploy" && (s.Environment == "" || s.Environment == e.conf.Name) {
			n++
		}
	}
	return n
}

// appPort is the first port of the services: that of the variables, or of the roles.
func (e *Environment) appPort() int {
	if a := e.conf.Ansible; a != nil {
		if n, ok := core.Number(a.Variables["app_port"]); ok {
			return int(n)
		}
	}
	return 3000
}

// nodeHere is the version of Node on this machine, where a run builds; empty: there is none.
func nodeHere(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// providers checks what the module's providers need.
func (c *checks) providers(ctx context.Context) error {
	e, t := c.environment, c.environment.conf.Terraform
	module, err := openModule(t)
	if err != nil {
		return err
	}
	c.module = module
	if c.request.Variables, err = terraform.Values(module, t.Variables); err != nil {
		return fmt.Errorf("module %s: %w", t.Module, err)
	}
	if c.request.Folder, err = e.terraformFolder(); err != nil {
		return err
	}
	sources, err := terraform.Required(module)
	if err != nil {
		return err
	}
	if len(sources) == 0 {
		c.take(core.Check{Name: "providers", Status: core.Skipped, Detail: "the module has no required_providers block"})
	}
	for _, source := range sources {
		if err := c.provider(ctx, source); err != nil {
			return err
		}
	}
	return nil
}

// terraformFolder returns Terraform's working folder without symlinks, as Terraform sees it. It need not exist yet.
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

// checks runs the steps of one preflight.
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

// programs returns the steps that check this machine.
func (c *checks) programs() []preflight.Step {
	var steps []preflight.Step
	if c.environment.conf.Terraform != nil {
		steps = append(steps, preflight.Step{Name: "terraform", Look: func(ctx context.Context) (string, error) {
			return terraform.Find(ctx, c.environment.conf.Terraform.Program)
		}})
	}
	if c.environment.conf.Ansible != nil {
		steps = append(steps, preflight.Step{Name: "ansible", Look: func(context.Context) (string, error) { return ansible.Find() }})
	}
	return append(steps, preflight.Step{Name: "ssh", Look: func(context.Context) (string, error) {
		path, err := exec.LookPath("ssh")
		if err != nil {
			return "", &preflight.Problem{Text: "not found in PATH", Remedy: "apt-get install openssh-client"}
		}
		return path, nil
	}})
}

// provider checks the prerequisites of one of the module's providers. source may begin with a registry host.
func (c *checks) provider(ctx context.Context, source string) error {
	e := c.environment
	switch {
	case strings.HasSuffix("/"+source, awsProvider):
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
	c.take(core.Check{Name: source, Status: core.Skipped, Detail: "troop has no checks for this provider"})
	return nil
}

// instances returns the EC2 instances in the environment's state. It makes no key and needs no provider.
func (c *checks) instances(ctx context.Context) ([]string, error) {
	e := c.environment
	w, err := terraform.Open(ctx, terraform.Options{
		Dir: c.request.Folder, Module: c.module, Program: e.conf.Terraform.Program, Environment: e.conf.Name,
		Variables: e.conf.Terraform.Variables, Backend: e.conf.Terraform.Backend, What: e.o.What,
	})
	if err != nil {
		return nil, err
	}
	return w.IDs(ctx, "aws_instance")
}

// shipped runs the check of a provider that ships with troop.
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
