package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/reference"
	"github.com/seed-b96de936/troop/core/scaffold"
)

func (a *app) pluginCmd() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Look at plugins, accept them, begin one"}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the plugins that can be used, and where they are", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a.ui.Table(loader.Table(a.plugins.List(c.Context())))
			return nil
		},
	}, a.describeCmd(), a.pluginLockCmd(), a.newCmd())
	return c
}

func (a *app) describeCmd() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "describe NAME", Short: "Print the reference of a plugin: arguments, outputs, actions", Args: cobra.ExactArgs(1),
		Example:           "  troop plugin describe deploy\n  troop plugin describe deploy --format markdown >deploy.md",
		ValidArgsFunction: a.completePlugins,
		RunE: func(c *cobra.Command, args []string) error {
			if a.json {
				format = "json"
			}
			page := reference.Pages[format]
			if page == nil {
				return line.Usage(fmt.Errorf("--format %s: want text, markdown or json", format))
			}
			d, _, err := a.plugins.Describe(c.Context(), args[0])
			if err != nil {
				return err
			}
			text, err := page(d)
			if err != nil {
				return err
			}
			_, err = a.text.Write(text)
			return err
		},
	}
	c.Flags().StringVar(&format, "format", "text", "text, markdown or json")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "markdown", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) completePlugins(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	l, err := a.loader()
	if err != nil || len(args) > 0 {
		return line.Offer(nil, err)
	}
	return line.Offer(l.Types(), nil)
}

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
			taken := map[string]string{}
			if path, err := a.plugins.Path(name); err == nil {
				taken[name] = "a plugin, " + path + ","
			}
			for _, other := range c.Root().Commands() { // one of its name would hide the plugin's actions
				if taken[other.Name()] == "" {
					taken[other.Name()] = "a command"
				}
			}
			if err := scaffold.CheckName(name, taken); err != nil {
				return line.Usage(err)
			}
			sdk, err := scaffold.FindSDK(checkout)
			if err != nil {
				return err
			}
			dir := "troop-plugin-" + name
			if err := scaffold.New(c.Context(), dir, scaffold.Plugin{Name: name, SDK: sdk}); err != nil {
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
