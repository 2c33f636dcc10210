package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/reference"
)

var pages = map[string]func(core.Description) ([]byte, error){
	"text":     func(d core.Description) ([]byte, error) { return []byte(reference.Text(d)), nil },
	"markdown": func(d core.Description) ([]byte, error) { return []byte(reference.Markdown(d, "")), nil },
	"json":     reference.JSON,
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
			page := pages[format]
			if page == nil {
				return usage{fmt.Errorf("--format %s: want text, markdown or json", format)}
			}
			d, _, err := a.plugins.Describe(c.Context(), args[0])
			if err != nil {
				return err
			}
			text, err := page(d)
			if err != nil {
				return err
			}
			_, err = a.out.Write(text)
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
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return l.Types(), cobra.ShellCompDirectiveNoFileComp
}
