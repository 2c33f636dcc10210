package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/hook"
)

func (a *app) hookCmd() *cobra.Command {
	c := &cobra.Command{Use: "hook", Short: "Start a run with every commit or push"}
	var manifest string
	install := &cobra.Command{
		Use: "install [MANIFEST]", Short: "Install the git hook: post-commit, or post-receive in a bare repository",
		Long: `Install makes git start a run with every commit on a branch, in the main work tree or a linked one, by the manifest
that is there. In a bare repository, in this folder or named as ./shop.git, every push starts a run for each branch,
by the manifest that is in the pushed commit; it keeps its runs in the repository's folder troop.

Which branches and tags start a run is said by the triggers of the manifest; without any, every branch does. Each commit
and each push says in one line which run it has started, or why none.`,
		RunE: func(c *cobra.Command, args []string) error {
			repo, command, err := a.hooked(c.Context(), args, manifest)
			if err != nil {
				return err
			}
			file, err := repo.InstallHook(c.Context(), git.Hook{Command: command})
			if err == nil {
				what := "commit"
				if repo.Bare {
					what = "push"
				}
				a.ui.Printf("installed %s; every %s says which run it starts", file, what)
			}
			return err
		},
	}
	install.Flags().StringVar(&manifest, "manifest", "", "`path` of the manifest in the commits that are pushed to a bare repository")
	uninstall := &cobra.Command{
		Use: "uninstall [MANIFEST]", Short: "Remove the git hook",
		RunE: func(c *cobra.Command, args []string) error {
			repo, _, err := a.hooked(c.Context(), args, "")
			if err != nil {
				return err
			}
			file, err := repo.UninstallHook(c.Context())
			if err == nil && file == "" {
				a.ui.Printf("there was no hook of troop's")
			} else if err == nil {
				a.ui.Printf("removed %s", file)
			}
			return err
		},
	}
	called := func(by, where string, run func(h *hook.Hook, ctx context.Context, manifest string) error) *cobra.Command {
		return &cobra.Command{
			Use: by + " MANIFEST", Hidden: true, Args: cobra.ExactArgs(1), Short: "Called by the hook in a " + where,
			RunE: func(c *cobra.Command, args []string) error {
				h, err := a.hook()
				if err != nil {
					return err
				}
				return run(h, c.Context(), args[0])
			},
		}
	}
	commit := called("commit", "work tree", (*hook.Hook).Committed)
	receive := called("receive", "bare repository", func(h *hook.Hook, ctx context.Context, manifest string) error {
		return h.Received(ctx, manifest, a.in)
	})
	c.AddCommand(install, uninstall, commit, receive)
	return c
}

func (a *app) hook() (*hook.Hook, error) {
	o, err := a.options()
	return &hook.Hook{
		Options: o, PluginDirs: a.pluginDirs,
		Started: func(line string) { a.ui.Printf("%s", line) },
		NoRun:   func(format string, args ...any) { a.ui.Warnf("no run: "+format, args...) },
	}, err
}

// hooked returns the repository that gets the hook, and what the hook calls.
func (a *app) hooked(ctx context.Context, args []string, manifest string) (*git.Repository, []string, error) {
	path, rest := line.Manifest(args)
	if err := line.Want(rest); err != nil {
		return nil, nil, err
	}
	h, err := a.hook()
	if err != nil {
		return nil, nil, err
	}
	return h.Repository(ctx, path, manifest)
}
