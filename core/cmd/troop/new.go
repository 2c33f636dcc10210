package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/scaffold"
)

func (a *app) newCmd() *cobra.Command {
	var checkout string
	c := &cobra.Command{
		Use: "new NAME", Short: "Begin a plugin of your own", Args: cobra.ExactArgs(1),
		Long: `New writes a Go module to ./troop-plugin-NAME: a stage in one file, its tests with the conformance suite, a Makefile
and a pipeline to try it in. It builds and passes its tests as it is. The module takes troop's SDK from the checkout
this troop was built in, or from the one that --sdk names.`,
		Example:           "  troop plugin new hello && cd troop-plugin-hello && make test",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			name := args[0]
			if err := a.checkNew(c.Root(), name); err != nil {
				return usage{err}
			}
			find := scaffold.FindSDK
			if checkout != "" {
				find = func() (scaffold.SDK, error) { return scaffold.OpenSDK(checkout) }
			}
			sdk, err := find()
			if err != nil {
				return err
			}
			dir := "troop-plugin-" + name
			err = scaffold.New(c.Context(), dir, scaffold.Plugin{Name: name, SDK: sdk})
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s is there already; choose another name, or move it away", dir)
			}
			if err != nil {
				return err
			}
			a.ui.JSON(map[string]string{"folder": dir, "sdk": sdk.Dir})
			a.ui.Printf("wrote %s, a Go module of its own; its SDK comes from %s", dir, sdk.Dir)
			a.ui.Printf("next: cd %s && make test", dir)
			a.ui.Printf("next: git init && git add . && git commit -m first && make run, which runs the plugin in a pipeline")
			return nil
		},
	}
	c.Flags().StringVar(&checkout, "sdk", "", "`folder` of a checkout of troop")
	_ = c.MarkFlagDirname("sdk")
	return c
}

// checkNew refuses names that could not be used: those of commands, which would hide the plugin's actions, too.
func (a *app) checkNew(root *cobra.Command, name string) error {
	if err := scaffold.CheckName(name); err != nil {
		return err
	}
	for _, c := range root.Commands() {
		if c.Name() == name || c.HasAlias(name) {
			return fmt.Errorf("troop %s is a command already; choose another name", name)
		}
	}
	if path, err := a.plugins.Path(name); err == nil {
		return fmt.Errorf("%s is a plugin already, %s; choose another name", name, path)
	}
	return nil
}
