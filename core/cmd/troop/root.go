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

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/plain"
	"github.com/seed-b96de936/troop/core/project"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/ui"
	"github.com/seed-b96de936/troop/core/vault"
)

// app is one invocation of troop.
type app struct {
	ctx     context.Context         // of the command
	stop    context.CancelCauseFunc // ends it at the next safe point
	in      io.Reader
	out     io.Writer
	errOut  io.Writer
	text    io.Writer // out for whole texts: as they are into a file, harmless on a terminal
	ui      *ui.UI    // set before a command runs
	mask    mask.Mask // of secrets that were read
	plugins *loader.Loader

	need       manifest.Need // what the command uses of a manifest
	secrets    bool          // it reads them
	untrusted  bool          // the manifest is a stranger's
	local      bool          // no server carries the command out
	env        string
	vars       []string
	varFiles   []string
	pluginDirs []string
	json       bool
	quiet      bool
	verbose    bool
	color      bool // decided from the terminal and NO_COLOR
	noColor    bool
	workspaces string // folder of workspaces
	opened     []*environment.Environment
	offline    bool   // the command does not use the store
	state      string // folder of the store, when it is not beside the manifest
}

// exit is an error that only sets the exit status: the command has printed its result.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// The exit statuses. changes is that of plan and drift, as Terraform's -detailed-exitcode has it.
const (
	failed   exit = 1
	badInput exit = 2
	changes  exit = 2
)

const long = `troop takes a commit to guarded production on your own virtual machines: it builds, tests and analyses
the commit, makes hosts with Terraform, configures them with Ansible, deploys to a canary that takes a part
of the traffic, and leaves agents on the hosts that guard them.

MANIFEST is a file *.hcl or a folder such as ./app; without it, pipeline.hcl in this folder is used.`

func (a *app) root(ctx context.Context, args []string) *cobra.Command {
	root := &cobra.Command{
		Use: "troop", Short: "Take a commit to guarded production", Long: long, Version: version,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { //nolint:contextcheck // what it sets gets the context when it runs
			a.start()
			a.workspaces = cmp.Or(a.workspaces, store.WorkspaceFolder())
			a.need = need(c)
			a.offline = slices.Contains(offline, c.CommandPath())
			a.secrets = c.CommandPath() != "troop validate" // which only looks at the blocks
			if _, err := a.loader(); err != nil {
				return err
			}
			return a.elsewhere().Forward(c)
		},
	}
	root.SetIn(a.in)
	root.SetOut(&plain.Writer{To: a.out}) // a plugin describes its own commands
	root.SetErr(&plain.Writer{To: a.errOut})
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return line.Usage(fmt.Errorf("%w; see %s --help", err, c.CommandPath()))
	})
	f := root.PersistentFlags()
	f.StringVar(&a.env, "env", "", "`environment` that the command is about")
	f.StringArrayVar(&a.vars, "var", nil, "set a variable of the manifest: `name=value`")
	f.StringArrayVar(&a.varFiles, "var-file", nil, "`file` of variables")
	f.StringArrayVar(&a.pluginDirs, "plugin-dir", nil, "look for plugins in `folder` first")
	f.BoolVar(&a.json, "json", false, "print JSON for programs")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print only what went wrong")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "print every line of every stage")
	f.BoolVar(&a.local, "local", false, "work on this machine, also when logged in to a server")
	f.BoolVar(&a.noColor, "no-color", false, "print without colours")
	f.StringVar(&a.state, "state", "", "keep runs and environments in `folder` instead of .troop")
	_ = f.MarkHidden("state") // for a hook's run of a commit that was pushed to a bare repository
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
	in("environment", a.preflightCmd(), a.planCmd(), a.approveCmd(), a.applyCmd(), a.driftCmd(), a.destroyCmd(), a.releaseHostCmd(), a.stateCmd(), a.lockCmd(), a.vaultCmd(), a.storeCmd(), a.hostsCmd(), a.sshCmd(), a.execCmd(), a.tailCmd(), a.flagCmd(), a.eventsCmd(), a.alertsCmd())
	root.AddCommand(a.serveCmd(), a.workerCmd(), a.elsewhere().LoginCmd(), a.elsewhere().LogoutCmd(), a.pluginCmd(), a.schemaCmd(), a.agentCmd(), a.versionCmd())
	if a.wantsActions(root, args) {
		in("plugin", a.actionCmds(ctx, args)...)
	}
	for _, c := range root.Commands() {
		if c.HasSubCommands() && !c.Runnable() {
			c.RunE = line.RefuseUnknown
		}
	}
	return root
}

// start reads the settings that all commands share.
func (a *app) start() {
	o := ui.Detect(a.out, a.noColor)
	a.text, a.color = a.out, o.Color
	if o.Terminal {
		a.text = &plain.Writer{To: a.out}
	}
	o.JSON, o.Quiet, o.Verbose = a.json, a.quiet, a.verbose
	a.ui = ui.New(a.out, a.errOut, o)
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
	if code, ok := errors.AsType[exit](err); ok {
		return int(code)
	}
	if bad, ok := errors.AsType[*project.ManifestError](err); ok {
		a.diagnose(bad.Diags, bad.Sources)
		return int(badInput)
	}
	if diags, ok := errors.AsType[core.Diagnostics](err); ok {
		a.diagnose(diags, nil)
		return int(badInput)
	}
	if bad := vault.Unusable(err); bad != nil {
		err = bad // whatever the command was about to do
	}
	code := failed
	switch {
	case errors.As(err, new(*core.UsageError)), errors.As(err, new(*store.UnusableError)), vault.Unusable(err) != nil,
		strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		code = badInput
	}
	if text := a.mask.String(err.Error()); text != err.Error() {
		err = errors.New(text)
	}
	a.ui.Error(err)
	return int(code)
}

func (a *app) diagnose(diags core.Diagnostics, sources manifest.Sources) {
	for i := range diags {
		diags[i].Detail = a.mask.String(diags[i].Detail)
	}
	if a.json {
		if data, err := manifest.JSON(diags, sources); err == nil {
			_, _ = (&plain.Writer{To: a.out, Escape: true}).Write(data) // a closed pipe has no reader to tell
		}
		return
	}
	_, _ = io.WriteString(a.errOut, manifest.Format(diags, sources, a.color))
}
