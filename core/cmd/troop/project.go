package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/flagcmd"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/logincmd"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/project"
	"github.com/seed-b96de936/troop/core/ui"
	"github.com/seed-b96de936/troop/core/vault"
)

// offline are the commands that do not use the store.
var offline = []string{"troop validate", "troop graph", "troop fmt", "troop init", "troop plugin lock", "troop vault identity"}

// need is what a command uses of a manifest.
func need(c *cobra.Command) manifest.Need {
	switch action := c.HasParent() && c.Parent().GroupID == "plugin"; {
	case action || slices.Contains([]string{"plan", "destroy", "drift"}, c.Name()):
		return manifest.EnvironmentOnly
	case slices.Contains([]string{"validate", "run", "apply"}, c.Name()):
		return manifest.Everything
	}
	return manifest.Nothing
}

// options say how the command reads a project.
func (a *app) options() (project.Options, error) {
	vars := map[string]string{}
	for _, v := range a.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return project.Options{}, line.Usage(fmt.Errorf("--var %s: want name=value", v))
		}
		vars[name] = value
	}
	l, err := a.loader()
	if err != nil {
		return project.Options{}, err
	}
	return project.Options{
		Vars: vars, VarFiles: a.varFiles, Environment: a.env, Need: a.need, Secrets: a.secrets, Untrusted: a.untrusted, Mask: &a.mask,
		Plugins: l, Local: a.offline, State: a.state, Workspaces: a.workspaces, Identities: vault.ThisUser(a.ui.Secrets(a.in)), Stop: a.stop,
		Note: func(line string) { a.ui.Note(line) },
	}, nil
}

type reader func(context.Context, string, project.Options) (*project.Project, error)

// read reads the project that the arguments name by one of project's functions, and returns the arguments after it.
func (a *app) read(by reader, args []string) (*project.Project, []string, error) {
	path, rest := line.Manifest(args)
	o, err := a.options()
	if err != nil {
		return nil, rest, err
	}
	p, err := by(a.ctx, path, o)
	return p, rest, err
}

// load is read for commands that need a manifest without mistakes.
func (a *app) load(args []string) (*project.Project, []string, error) {
	return a.read(project.Load, args)
}

// loadAlone is load for a command that takes no further arguments.
func (a *app) loadAlone(args []string) (*project.Project, error) {
	p, rest, err := a.load(args)
	if err == nil {
		err = line.Want(rest)
	}
	return p, err
}

// record is read for commands that look at what is recorded of runs.
func (a *app) record(args []string) (*project.Project, []string, error) {
	return a.read(func(ctx context.Context, path string, o project.Options) (*project.Project, error) {
		return project.Record(ctx, cmp.Or(path, "."), o)
	}, args)
}

// open opens the environment that a command is about, and returns the arguments after the manifest. The caller closes it.
func (a *app) open(c *cobra.Command, args []string) (*environment.Environment, []string, error) {
	return a.openBy(project.Load, c, args)
}

// openLeniently is open for a command that reads local files only, and works in spite of mistakes in the manifest.
func (a *app) openLeniently(c *cobra.Command, args []string) (*environment.Environment, []string, error) {
	return a.openBy(project.Read, c, args)
}

func (a *app) openBy(by reader, c *cobra.Command, args []string) (*environment.Environment, []string, error) {
	p, rest, err := a.read(by, args)
	if err != nil {
		return nil, rest, err
	}
	e, err := p.OpenEnvironment(c.Context(), c.CommandPath())
	if err == nil {
		a.opened = append(a.opened, e)
	}
	return e, rest, err
}

// close closes the environments that the command has left open: private files of a shared store do not stay.
func (a *app) close() {
	for _, e := range a.opened {
		if err := e.Close(); err != nil {
			a.ui.Note(err.Error())
		}
	}
}

func (a *app) completeEnvironments(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	a.offline = true
	p, _, err := a.read(project.Read, args)
	if err != nil {
		return line.Offer(nil, err)
	}
	var names []string
	for _, e := range p.Environments {
		names = append(names, e.Name)
	}
	return line.Offer(names, nil)
}

// confirm asks a person. Where stdin is no terminal, it refuses and says what to do instead.
func (a *app) confirm(question, otherwise string) error {
	yes, err := a.ui.Confirm(a.in, question)
	if errors.Is(err, ui.ErrNobody) {
		return line.Usage(errors.New("stdin is not a terminal; " + otherwise))
	}
	if err != nil || !yes {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}

// sure is confirm for a command with the option --yes.
func (a *app) sure(yes bool, question string) error {
	if yes {
		return nil
	}
	return a.confirm(question, "pass --yes")
}

// inEnvironment makes the function of a command that is about an environment and takes the arguments names after the
// manifest.
func (a *app) inEnvironment(run func(ctx context.Context, e *environment.Environment, args []string) error, names ...string) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		e, rest, err := a.open(c, args)
		if err == nil {
			err = line.Want(rest, names...)
		}
		if err != nil {
			return err
		}
		return run(c.Context(), e, rest)
	}
}

// elsewhere are the commands that a server carries out.
func (a *app) elsewhere() logincmd.App {
	return logincmd.App{
		UI: func() *ui.UI { return a.ui }, Out: func() io.Writer { return a.text }, Errors: a.errOut, In: a.in,
		Mask: &a.mask, JSON: &a.json, Env: &a.env, Local: &a.local, Name: a.pipelineIn, Exit: func(n int) error { return exit(n) },
	}
}

// pipelineIn is the name of the pipeline of a manifest; empty: there is none.
func (a *app) pipelineIn(ctx context.Context, path string) string {
	a.offline, a.secrets = true, false
	o, err := a.options()
	if err != nil {
		return ""
	}
	p, err := project.Read(ctx, path, o)
	if err != nil {
		return ""
	}
	return p.Name
}

func (a *app) flagCmd() *cobra.Command {
	return flagcmd.New(a.openFlags, func() flagcmd.Output { return flagcmd.Output{UI: a.ui, Raw: a.out} })
}

// openFlags opens the flags that a command is about.
func (a *app) openFlags(c *cobra.Command, args []string) (flagcmd.Opened, error) {
	e, rest, err := a.open(c, args)
	if err != nil {
		return flagcmd.Opened{}, err
	}
	f, err := e.Flags()
	return flagcmd.Opened{Flags: f, Environment: e.Name(), Rest: rest, Close: func() { _ = e.Close() }}, err
}
