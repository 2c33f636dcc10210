package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/terraform"
)

// workspace opens the root module of an environment.
func workspace(ctx context.Context, p *core.Pipeline, conf core.Environment, log func(string)) (*terraform.Workspace, error) {
	t := conf.Terraform
	if t == nil {
		return nil, fmt.Errorf("environment %s has no terraform block, so that there is nothing to make", conf.Name)
	}
	module, err := openModule(t)
	if err != nil {
		return nil, err
	}
	providers, err := localProviders(module)
	if err != nil {
		return nil, err
	}
	dir := environmentDir(p, conf.Name)
	ssh, err := remote.New(dir)
	if err != nil {
		return nil, err
	}
	key := ssh.PublicKey()
	if err := ssh.Close(); err != nil {
		return nil, err
	}
	return terraform.Open(ctx, terraform.Options{
		Dir: filepath.Join(dir, "terraform"), Module: module, Environment: conf.Name, PublicKey: key,
		Variables: t.Variables, Backend: t.Backend, Providers: providers, Secrets: p.Secrets, Log: log,
	})
}

// applyPlan makes the hosts what the plan says, records and pins them.
func applyPlan(ctx context.Context, p *core.Pipeline, conf core.Environment, w *terraform.Workspace, plan *terraform.Plan, emit func(core.Event)) error {
	if plan != nil && !plan.Empty() {
		err := w.Apply(ctx, plan, func(s terraform.Progress) {
			if s.Status == "running" {
				return // said every ten seconds
			}
			emit(core.TaskEvent(core.TaskResult{
				Host: s.Host, Task: fmt.Sprintf("%s %s", s.Action, s.Address), Status: s.Status, Elapsed: s.Elapsed,
			}))
		})
		if err != nil {
			return err
		}
	}
	hosts, err := w.Hosts(ctx)
	if err != nil {
		return err
	}
	dir := environmentDir(p, conf.Name)
	ssh, err := remote.New(dir)
	if err != nil {
		return err
	}
	defer ssh.Close()
	if err := ssh.Pin(hosts); err != nil {
		return err
	}
	return writeHosts(dir, hosts)
}

// lockEnvironment keeps other commands out of an environment.
func lockEnvironment(ctx context.Context, p *project, env, what string, run core.RunID, tell func(string)) (release func() error, err error) {
	return p.files.Lock(ctx, env, store.Holder{PID: os.Getpid(), Run: run, What: what, Since: time.Now()}, func(h store.Holder) {
		tell(fmt.Sprintf("environment %s: waiting for %s", env, h))
	})
}

func (a *app) destroyCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "destroy [MANIFEST]", Short: "Remove all hosts of an environment",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			p, conf, w, release, err := a.change(ctx, args, "troop destroy")
			if err != nil {
				return err
			}
			defer func() { _ = release() }()
			plan, err := w.PlanDestroy(ctx)
			if err != nil {
				return err
			}
			if !plan.Empty() {
				if err := a.clear(ctx, p, conf, w, plan, yes, "Destroy all this?"); err != nil {
					return err
				}
				err = w.Apply(ctx, plan, func(s terraform.Progress) {
					if s.Status != "running" {
						a.note(fmt.Sprintf("%s: %s %s", s.Address, s.Action, s.Status))
					}
				})
				if err != nil {
					return err
				}
			}
			if err := forgetHosts(environmentDir(p.Pipeline, conf.Name)); err != nil {
				return err
			}
			a.ui.Printf("environment %s has no hosts", conf.Name)
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "destroy without asking")
	return c
}

// forgetHosts removes what was known of hosts that are no more: the list, their keys, what they carried, and the
// secrets that only they had.
func forgetHosts(dir string) error {
	var errs []error
	for _, name := range []string{"hosts.json", "known_hosts", "fingerprints", "secrets.json"} {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	return errors.Join(errs...)
}

func (a *app) hostsCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "hosts [MANIFEST]", Short: "List the hosts of an environment",
		RunE: func(_ *cobra.Command, args []string) error {
			e, rest, err := a.loadFor(args)
			if err != nil {
				return err
			}
			defer e.close()
			if err := want(rest); err != nil {
				return err
			}
			a.ui.Hosts(e.hosts)
			return nil
		},
	}
	c.AddCommand(a.acceptCmd())
	return c
}

func (a *app) sshCmd() *cobra.Command {
	return &cobra.Command{
		Use: "ssh [MANIFEST] HOST [-- COMMAND…]", Short: "Log in to a host, or run a command there",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			e, rest, err := a.loadFor(args)
			if err != nil {
				return err
			}
			defer e.close()
			if len(rest) == 0 {
				return usage{errors.New("want the name of a host; troop hosts lists them")}
			}
			h, err := e.host(rest[0])
			if err != nil {
				return err
			}
			return execSSH(e.ssh.Command(h, rest[1:]...))
		},
	}
}

// loadEnvironment is load for a command about an environment that may have no hosts yet.
func (a *app) loadEnvironment(args []string) (*project, core.Environment, error) {
	p, rest, err := a.load(args)
	if err != nil {
		return nil, core.Environment{}, err
	}
	if err := want(rest); err != nil {
		return nil, core.Environment{}, err
	}
	conf, err := findEnvironment(p.Pipeline, a.env)
	return p, conf, err
}

// note tells people what goes on; programs hear of the outcome only.
func (a *app) note(line string) {
	if !a.json && !a.quiet {
		fmt.Fprintln(a.errOut, line)
	}
}

// confirm asks a person. Where nobody can answer, it refuses and says what to do otherwise.
func (a *app) confirm(question, otherwise string) error {
	f, ok := a.in.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return usage{errors.New("nobody is there to say yes; " + otherwise)}
	}
	fmt.Fprintf(a.errOut, "%s Only \"yes\" goes on: ", question)
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "yes" {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}
