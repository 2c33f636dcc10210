package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/secret"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/ui"
	"github.com/seed-b96de936/troop/playbooks"
	modules "github.com/seed-b96de936/troop/terraform"
)

// app is one invocation of troop.
type app struct {
	in      io.Reader
	out     io.Writer
	errOut  io.Writer
	ui      *ui.UI    // set before a command runs
	mask    mask.Mask // of what the command knows to be secret
	plugins *loader.Loader

	need       manifest.Need // what of a manifest the command uses
	secret     func(core.SecretSource) (string, error)
	env        string
	vars       []string
	varFiles   []string
	pluginDirs []string
	json       bool
	quiet      bool
	verbose    bool
	color      bool // decided from the terminal and NO_COLOR
	noColor    bool
}

// exit is an error that only sets the exit status: what is to be said has been said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// The exit statuses. changes is that of plan and drift, as Terraform's -detailed-exitcode has it.
const (
	failed   exit = 1
	badInput exit = 2
	changes  exit = 2
)

// diagnosed are the mistakes in a manifest, together with its text.
type diagnosed struct {
	diags   core.Diagnostics
	sources manifest.Sources
}

func (d *diagnosed) Error() string { return d.diags.Error() }

// usage is a mistake on the command line.
type usage struct{ error }

const long = `troop takes a commit to guarded production on your own virtual machines: it builds, tests and analyses
the commit, makes hosts with Terraform, configures them with Ansible, deploys to a canary that takes a part
of the traffic, and leaves agents on the hosts that guard them.

MANIFEST is a file *.hcl or a folder such as ./app; without it, pipeline.hcl in this folder is used.`

func (a *app) root(ctx context.Context, args []string) *cobra.Command {
	root := &cobra.Command{
		Use: "troop", Short: "Take a commit to guarded production", Long: long, Version: version,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			a.start()
			a.need = need(c)
			if c.CommandPath() != "troop validate" { // which only looks at the blocks
				a.secret = func(s core.SecretSource) (string, error) {
					value, err := secret.Read(ctx, s)
					a.mask.Add(value)
					return value, err
				}
			}
			_, err := a.loader()
			return err
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	f := root.PersistentFlags()
	f.StringVar(&a.env, "env", "", "`environment` that the command is about")
	f.StringArrayVar(&a.vars, "var", nil, "set a variable of the manifest: `name=value`")
	f.StringArrayVar(&a.varFiles, "var-file", nil, "`file` of variables")
	f.StringArrayVar(&a.pluginDirs, "plugin-dir", nil, "look for plugins in `folder` first")
	f.BoolVar(&a.json, "json", false, "print JSON for programs")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print only what went wrong")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "print every line of every stage")
	f.BoolVar(&a.noColor, "no-color", false, "print without colours")
	_ = root.RegisterFlagCompletionFunc("env", a.completeEnvironments)

	root.AddGroup(
		&cobra.Group{ID: "pipeline", Title: "Pipeline:"},
		&cobra.Group{ID: "environment", Title: "Environment:"},
		&cobra.Group{ID: "plugin", Title: "Actions of plugins:"},
	)
	in := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	in("pipeline", a.initCmd(), a.fmtCmd(), a.validateCmd(), a.graphCmd(), a.runCmd(), a.runsCmd(), a.showCmd(), a.logsCmd(), a.whyCmd(), a.verifyCmd(), a.hookCmd())
	in("environment", a.preflightCmd(), a.planCmd(), a.approveCmd(), a.applyCmd(), a.driftCmd(), a.destroyCmd(), a.stateCmd(), a.hostsCmd(), a.sshCmd(), a.flagCmd(), a.eventsCmd())
	root.AddCommand(a.pluginCmd(), a.schemaCmd(), a.agentCmd(), a.versionCmd())
	if a.wantsActions(root, args) {
		in("plugin", a.actionCmds(ctx, args)...)
	}
	for _, c := range root.Commands() {
		if c.HasSubCommands() && !c.Runnable() {
			c.RunE = refuseUnknown
		}
	}
	return root
}

// refuseUnknown runs a command that has only subcommands. Of one that it has not, cobra would print help and call
// that success.
func refuseUnknown(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	remedy := "see " + c.CommandPath() + " --help"
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		remedy = fmt.Sprintf("did you mean %q?", near[0])
	}
	return usage{fmt.Errorf("unknown command %q for %q; %s", args[0], c.CommandPath(), remedy)}
}

// need tells what of a manifest a command is going to use.
func need(c *cobra.Command) manifest.Need {
	switch action := c.HasParent() && c.Parent().GroupID == "plugin"; {
	case action || slices.Contains([]string{"plan", "destroy", "drift"}, c.Name()):
		return manifest.EnvironmentOnly
	case slices.Contains([]string{"validate", "run", "apply"}, c.Name()):
		return manifest.Everything
	}
	return manifest.Nothing
}

// start reads the settings that all commands share.
func (a *app) start() {
	tty := false
	size := func() (int, int) { return 80, 24 }
	if f, ok := a.out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		tty = true
		size = func() (int, int) {
			w, h, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80, 24
			}
			return w, h
		}
	}
	a.color = tty && !a.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	a.ui = ui.New(a.out, a.errOut, ui.Options{
		JSON: a.json, TTY: tty && os.Getenv("TERM") != "dumb", Color: a.color, Quiet: a.quiet, Verbose: a.verbose, Size: size,
	})
}

func (a *app) loader() (*loader.Loader, error) {
	var err error
	if a.plugins == nil {
		a.plugins, err = loader.New(loader.Options{Dirs: a.pluginDirs})
	}
	return a.plugins, err
}

// fail says why a command ended and returns the exit status.
func (a *app) fail(err error) int {
	if a.ui == nil {
		a.start()
	}
	var (
		code  exit
		bad   *diagnosed
		diags core.Diagnostics
		wrong usage
	)
	switch {
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &bad):
		a.diagnose(bad.diags, bad.sources)
		return int(badInput)
	case errors.As(err, &diags):
		a.diagnose(diags, nil)
		return int(badInput)
	case errors.As(err, &wrong):
		a.ui.Error(err)
		return int(badInput)
	case strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		a.ui.Error(err)
		return int(badInput)
	}
	if text := a.mask.String(err.Error()); text != err.Error() {
		err = errors.New(text)
	}
	a.ui.Error(err)
	return int(failed)
}

func (a *app) diagnose(diags core.Diagnostics, sources manifest.Sources) {
	for i := range diags {
		diags[i].Detail = a.mask.String(diags[i].Detail)
	}
	if a.json {
		if data, err := manifest.JSON(diags, sources); err == nil {
			_, _ = a.out.Write(data) // a closed pipe has no reader to tell
		}
		return
	}
	_, _ = io.WriteString(a.errOut, manifest.Format(diags, sources, a.color))
}

// manifestArg takes the manifest off the arguments when the first one is one.
func manifestArg(args []string) (path string, rest []string) {
	if len(args) == 0 {
		return "", nil
	}
	first := args[0]
	if strings.HasSuffix(first, ".hcl") || strings.HasSuffix(first, "/") {
		return first, args[1:]
	}
	if first == "." || first == ".." || strings.ContainsRune(first, filepath.Separator) {
		if info, err := os.Stat(first); err == nil && info.IsDir() {
			return first, args[1:]
		}
	}
	return "", args
}

// project is a manifest that has been read.
type project struct {
	*core.Pipeline
	sources manifest.Sources
	diags   core.Diagnostics // of reading it
	files   *store.Files
}

// read reads the manifest that the arguments name, and makes its lock hold. A project is returned beside mistakes
// when the rest of it can be checked all the same.
func (a *app) read(args []string) (*project, []string, error) {
	p, rest, err := a.readUnlocked(args)
	if err == nil {
		err = a.enforce(p.Dir)
	}
	return p, rest, err
}

func (a *app) readUnlocked(args []string) (*project, []string, error) {
	path, rest := manifestArg(args)
	file, diags := manifest.Find(path)
	if diags.HasErrors() {
		return nil, rest, &diagnosed{diags, nil}
	}
	vars := map[string]string{}
	for _, v := range a.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, rest, usage{fmt.Errorf("--var %s: want name=value", v)}
		}
		vars[name] = value
	}
	books, err := fs.Glob(playbooks.FS, "*.yml")
	if err != nil {
		return nil, rest, err
	}
	p, sources, diags := manifest.Load(file, manifest.Options{
		Vars: vars, VarFiles: a.varFiles, Environment: a.env, Need: a.need, Secret: a.secret, Modules: modules.Names(), Playbooks: books,
	})
	if p == nil {
		return nil, rest, &diagnosed{diags, sources}
	}
	for _, s := range p.Secrets {
		a.mask.Add(s)
	}
	diags = append(diags, checkModules(p)...)
	diags = append(diags, checkRules(p, sources)...)
	return &project{Pipeline: p, sources: sources, diags: diags, files: store.Open(troopDir(p))}, rest, nil
}

// load is read for commands that need a manifest without mistakes.
func (a *app) load(args []string) (*project, []string, error) {
	p, rest, err := a.read(args)
	if err == nil && p.diags.HasErrors() {
		err = &diagnosed{p.diags, p.sources}
	}
	return p, rest, err
}

// loadFor is load for a command about an environment whose hosts exist. The caller closes it.
func (a *app) loadFor(args []string) (*environment, []string, error) {
	p, rest, err := a.load(args)
	if err != nil {
		return nil, rest, err
	}
	conf, err := findEnvironment(p.Pipeline, a.env)
	if err != nil {
		return nil, rest, err
	}
	e, err := openEnvironment(p.Pipeline, conf)
	return e, rest, err
}

// want checks how many arguments are left after the manifest.
func want(rest []string, names ...string) error {
	if len(rest) == len(names) {
		return nil
	}
	if len(names) == 0 {
		return usage{fmt.Errorf("unexpected argument %q; a manifest ends in .hcl or is a folder written with a /", rest[0])}
	}
	return usage{fmt.Errorf("want the arguments %s, got %d", strings.Join(names, " "), len(rest))}
}

func (a *app) completeEnvironments(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	p, _, err := a.read(args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, e := range p.Environments {
		names = append(names, e.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
