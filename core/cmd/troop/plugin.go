package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/store"
)

func (a *app) pluginCmd() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Look at plugins, accept them, begin one"}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the plugins that can be used, and where they are", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := core.Table{Columns: []string{"type", "version", "faces", "summary", "path", "digest"}}
			for _, f := range a.plugins.List(c.Context()) {
				d := f.Description
				summary := d.Summary
				if f.Err != nil {
					summary = "broken: " + f.Err.Error()
				}
				t.Rows = append(t.Rows, []string{f.Type, d.Version, faces(d), summary, f.Path, short(f.Digest)})
			}
			a.ui.Table(t)
			return nil
		},
	}, a.describeCmd(), a.lockCmd(), a.newCmd())
	return c
}

func faces(d core.Description) string {
	var list []string
	if d.Stage {
		list = append(list, "stage")
	}
	if d.Agent != nil {
		list = append(list, "agent")
	}
	if len(d.Actions) > 0 {
		list = append(list, "actions")
	}
	return strings.Join(list, ",")
}

func short(d core.Digest) string {
	if len(d) > 19 {
		return string(d[:19])
	}
	return string(d)
}

// wantsActions reports whether the command line may be about an action: plugins are not asked otherwise.
func (a *app) wantsActions(root *cobra.Command, args []string) bool {
	found, _, err := root.Find(args)
	return err != nil || found == root || strings.HasPrefix(found.Name(), "__complete") || found.Name() == "help"
}

// actionCmds makes a command of every plugin that has actions. That of a plugin that cannot be used says why.
func (a *app) actionCmds(ctx context.Context, args []string) []*cobra.Command {
	a.pluginDirs = pluginDirsIn(args)
	l, err := a.loader()
	if err != nil {
		return nil
	}
	if err := a.enforceAhead(args); err != nil {
		a.plugins = l.Locked(&loader.Lock{File: loader.LockFile}) // the command itself will say what is wrong with the lock
	}
	var cmds []*cobra.Command
	for _, f := range a.plugins.List(ctx) {
		if f.Err != nil {
			cmds = append(cmds, &cobra.Command{
				Use: f.Type, Hidden: true, DisableFlagParsing: true,
				RunE: func(*cobra.Command, []string) error { return f.Err },
			})
			continue
		}
		if len(f.Description.Actions) == 0 {
			continue
		}
		c := &cobra.Command{Use: f.Type, Short: capital(f.Description.Summary)}
		for _, action := range f.Description.Actions {
			c.AddCommand(a.actionCmd(f.Type, action))
		}
		cmds = append(cmds, c)
	}
	return cmds
}

// pluginDirsIn reads --plugin-dir, which decides which commands there are, ahead of all other flags.
func pluginDirsIn(args []string) []string {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.ParseErrorsAllowlist.UnknownFlags = true
	f.Usage = func() {}
	dirs := f.StringArray("plugin-dir", nil, "")
	_ = f.Parse(args) // what is wrong with them, the command says
	return *dirs
}

func (a *app) actionCmd(typ string, action core.Action) *cobra.Command {
	var use, doc strings.Builder
	use.WriteString(action.Name + " [MANIFEST]")
	for _, arg := range action.Args {
		if arg.Flag {
			continue
		}
		name := strings.ToUpper(arg.Name)
		if !arg.Required {
			name = "[" + name + "]"
		}
		use.WriteString(" " + name)
		fmt.Fprintf(&doc, "\n  %-14s %s", name, arg.Doc)
	}
	var stage string
	flags := map[string]*string{}
	switches := map[string]*bool{}
	c := &cobra.Command{
		Use: use.String(), Short: capital(action.Summary),
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.load(args)
			if err != nil {
				return err
			}
			values, err := actionArgs(action, rest)
			if err != nil {
				return err
			}
			for name, v := range flags {
				values[name] = *v
			}
			for name, v := range switches {
				values[name] = fmt.Sprint(*v)
			}
			return a.call(c.Context(), p, typ, stage, action.Name, values)
		},
	}
	if doc.Len() > 0 {
		c.Long = c.Short + "\n" + doc.String()
	}
	for _, arg := range action.Args {
		switch {
		case !arg.Flag:
		case arg.Default == "true" || arg.Default == "false":
			switches[arg.Name] = c.Flags().Bool(arg.Name, arg.Default == "true", arg.Doc)
		default:
			flags[arg.Name] = c.Flags().String(arg.Name, arg.Default, arg.Doc)
			if arg.Required {
				_ = c.MarkFlagRequired(arg.Name)
			}
		}
	}
	c.Flags().StringVar(&stage, "stage", "", "`name` of the stage, when the pipeline has several of type "+typ)
	return c
}

// capital makes a summary, which authors write with a small letter or a capital one, look like those of other commands.
func capital(summary string) string {
	_, n := utf8.DecodeRuneInString(summary)
	return strings.ToUpper(summary[:n]) + summary[n:]
}

// actionArgs gives positional arguments their names.
func actionArgs(action core.Action, rest []string) (map[string]string, error) {
	values := map[string]string{}
	for _, arg := range action.Args {
		switch {
		case arg.Flag:
		case len(rest) > 0:
			values[arg.Name], rest = rest[0], rest[1:]
		case arg.Required:
			return nil, usage{fmt.Errorf("%s is missing: %s", strings.ToUpper(arg.Name), arg.Doc)}
		default:
			values[arg.Name] = arg.Default
		}
	}
	return values, want(rest)
}

// call runs an action of the stage's plugin.
func (a *app) call(ctx context.Context, p *project, typ, name, action string, args map[string]string) error {
	defer func() { _ = p.files.Close() }()
	stage, err := findStage(p.Pipeline, typ, name)
	if err != nil {
		return err
	}
	env := a.env
	if env == "" {
		env = stage.Environment
	}
	if env == "" {
		if conf, err := findEnvironment(p.Pipeline, ""); err == nil {
			env = conf.Name
		}
	}
	scope, err := stage.Scope(env, lastOutputs(ctx, p, env))
	if err != nil {
		return err
	}
	plugin, err := a.plugins.Open(ctx, typ)
	if err != nil {
		return err
	}
	defer plugin.Close()
	state, err := p.files.StageState(p.Name, stage.ID())
	if err != nil {
		return err
	}
	job := core.Job{
		Config: core.Config{Name: stage.Name, Block: stage.Block, Scope: scope},
		Info: core.RunInfo{
			Pipeline: p.Name, Stage: stage.ID(), Environment: env, Workspace: p.Source.Path, StateDir: state,
		},
	}
	envs := &environments{project: p, plugins: a.plugins, open: map[string]*environment{}, tell: a.note}
	defer envs.close()
	job.Capabilities = envs.Capabilities(p.Pipeline, job)
	err = plugin.Call(ctx, job, action, args, func(m core.Message) { a.show(stage.ID(), m) })
	if failure, ok := errors.AsType[*core.Failure](err); ok {
		a.ui.Warnf("%s", a.mask.String(failure.Reason))
		return failed
	}
	if skip, ok := errors.AsType[*core.SkipError](err); ok {
		a.ui.Printf("%s", a.mask.String(skip.Reason))
		return nil
	}
	return err
}

// lastOutputs are the outputs of the last run that passed in an environment: what stands there now.
func lastOutputs(ctx context.Context, p *project, env string) map[core.StageID]map[string]any {
	runs, err := p.files.Runs(ctx, store.Filter{Pipeline: p.Name, Statuses: []core.Status{core.Passed}, Environment: env, Limit: 1})
	if err != nil || len(runs) == 0 {
		return nil
	}
	outputs := map[core.StageID]map[string]any{}
	for _, s := range runs[0].Stages {
		if s.Outputs != nil {
			outputs[s.ID] = s.Outputs
		}
	}
	return outputs
}

// show prints what an action says, without the secrets in it.
func (a *app) show(source core.StageID, m core.Message) {
	switch {
	case m.Table != nil:
		rows, _ := a.mask.Value(m.Table.Rows).([][]string)
		a.ui.Table(core.Table{Columns: m.Table.Columns, Rows: rows})
	case m.Log != nil:
		a.note(a.mask.String(m.Log.Line))
	case m.Progress != nil && m.Progress.Text != "":
		a.note(a.mask.String(m.Progress.Text))
	case m.Output != nil:
		a.ui.JSON(map[string]any{m.Output.Name: a.mask.Value(m.Output.Value)})
	case m.Finding != nil:
		f := *m.Finding
		f.Message = a.mask.String(f.Message)
		a.ui.JSON(f)
		a.ui.Printf("%s:%d:%d: %s: %s (%s)", f.Path, f.Line, f.Column, f.Severity, f.Message, f.Rule)
	case m.Event != nil:
		e := *m.Event
		e.Source, e.Summary = string(source), a.mask.String(e.Summary)
		e.Data, _ = a.mask.Value(e.Data).(map[string]any)
		a.showEvent(e)
	}
}

func findStage(p *core.Pipeline, typ, name string) (core.Stage, error) {
	var names []string
	var found []core.Stage
	for _, s := range p.Stages {
		if s.Type == typ {
			names = append(names, s.Name)
			if name == "" || s.Name == name {
				found = append(found, s)
			}
		}
	}
	switch {
	case len(names) == 0:
		return core.Stage{}, &core.NotFoundError{What: "stage of type", Name: typ, Remedy: p.File + " has none; the action needs the arguments of one"}
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return core.Stage{}, usage{fmt.Errorf("which stage? say --stage with one of %s", strings.Join(names, ", "))}
	}
	return core.Stage{}, &core.NotFoundError{What: "stage " + typ, Name: name, Remedy: "there are " + strings.Join(names, ", ")}
}

func splitID(id core.StageID) (typ, name string) {
	typ, name, _ = strings.Cut(string(id), ".")
	return typ, name
}

func (a *app) agentCmd() *cobra.Command {
	return &cobra.Command{
		Use: "agent CONFIG.json", Short: "Run an agent as systemd does on a host", Args: cobra.ExactArgs(1),
		Long: `Agent runs troop-agent, the program that keeps a plugin's agent alive on a host. Stages install it there as a
unit of systemd's; by hand it needs STATE_DIRECTORY, a folder for its spool.`,
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			return execute(filepath.Join(filepath.Dir(self), "troop-agent"), args)
		},
	}
}

// execute replaces this process by a program.
func execute(path string, args []string) error {
	if err := syscall.Exec(path, append([]string{path}, args...), os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	return nil
}

// execSSH replaces this process by OpenSSH's client.
func execSSH(command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("%w; install OpenSSH's client", err)
	}
	return execute(path, slices.Clone(command[1:]))
}

func fileDigest(path string) (core.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return core.Digest(fmt.Sprintf("sha256:%x", h.Sum(nil))), nil
}
