package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/project"
)

// wantsActions reports whether the command line may name an action. Only then are plugins asked for theirs.
func (a *app) wantsActions(root *cobra.Command, args []string) bool {
	found, _, err := root.Find(args)
	return err != nil || found == root || strings.HasPrefix(found.Name(), "__complete") || found.Name() == "help"
}

// actionCmds makes a command for every plugin that has actions. For a plugin that cannot be used, the command says why.
func (a *app) actionCmds(ctx context.Context, args []string) []*cobra.Command {
	a.pluginDirs = line.PluginDirs(args)
	l, err := a.loader()
	if err != nil {
		return nil
	}
	// The manifest is not read yet: no plugin is executed that the lock in its folder does not name.
	if _, a.plugins, err = project.Locked(l, line.Folder(args)); err != nil {
		a.plugins = l.Locked(&loader.Lock{File: loader.LockFile}) // the command itself reports what is wrong with the lock
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
			values, rest, err := action.Named(rest)
			if err != nil {
				return line.Usage(err)
			}
			if err := line.Want(rest); err != nil {
				return err
			}
			for name, v := range flags {
				values[name] = *v
			}
			for name, v := range switches {
				values[name] = fmt.Sprint(*v)
			}
			defer func() { _ = p.Files.Close() }()
			o := core.CallOptions{Type: typ, Name: stage, Action: action.Name, Args: values, Environment: a.env}
			if err := a.call(c.Context(), p, o); err != nil || switches["yes"] == nil || c.Flags().Changed("yes") {
				return err
			}
			// The action has shown what it would do.
			if err := a.sure(false, "Do it?"); err != nil {
				return err
			}
			values["yes"] = "true"
			return a.call(c.Context(), p, o)
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

// capital makes the first letter of a summary a capital, as in the summaries of other commands.
func capital(summary string) string {
	_, n := utf8.DecodeRuneInString(summary)
	return strings.ToUpper(summary[:n]) + summary[n:]
}

// call runs an action of the stage's plugin.
func (a *app) call(ctx context.Context, p *project.Project, o core.CallOptions) error {
	outputs, err := p.Call(ctx, o, a.ui.Action)
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		a.ui.JSON(map[string]any{name: outputs[name]})
	}
	if failure, ok := errors.AsType[*core.Failure](err); ok {
		a.ui.Warnf("%s", failure.Reason)
		return failed
	}
	if skip, ok := errors.AsType[*core.SkipError](err); ok {
		a.ui.Printf("%s", skip.Reason)
		return nil
	}
	if several, ok := errors.AsType[*engine.AmbiguousError](err); ok {
		return line.Usage(several)
	}
	return err
}
