package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/git"
)

func (a *app) hookCmd() *cobra.Command {
	hook := &cobra.Command{Use: "hook", Short: "Start a run with every commit"}
	install := &cobra.Command{
		Use: "install [MANIFEST]", Short: "Install the git hook: post-commit, or post-receive in a bare repository",
		RunE: func(c *cobra.Command, args []string) error {
			p, repo, err := a.loadRepository(c.Context(), args)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			command := []string{self, "run", p.File}
			if a.env != "" {
				command = append(command, "--env", a.env)
			}
			file, err := repo.InstallHook(c.Context(), git.Hook{Command: command, Log: troopDir(p.Pipeline) + "/hook.log"})
			if err == nil {
				a.ui.Printf("installed %s; every commit starts: troop run", file)
			}
			return err
		},
	}
	uninstall := &cobra.Command{
		Use: "uninstall [MANIFEST]", Short: "Remove the git hook",
		RunE: func(c *cobra.Command, args []string) error {
			_, repo, err := a.loadRepository(c.Context(), args)
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
	hook.AddCommand(install, uninstall)
	return hook
}

func (a *app) loadRepository(ctx context.Context, args []string) (*project, *git.Repository, error) {
	p, rest, err := a.load(args)
	if err == nil {
		err = want(rest)
	}
	if err != nil {
		return nil, nil, err
	}
	repo, err := git.Open(ctx, p.Source.Path)
	return p, repo, err
}
