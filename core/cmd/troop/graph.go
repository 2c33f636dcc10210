package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/manifest/graph"
)

func (a *app) graphCmd() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "graph [MANIFEST]", Short: "Draw which stages wait for which",
		Example: "  troop graph\n  troop graph --format svg >pipeline.svg\n  troop graph --format dot | dot -Tpng >pipeline.png",
		RunE: func(_ *cobra.Command, args []string) error {
			draw := graph.Drawings[format]
			if draw == nil {
				return line.Usage(fmt.Errorf("--format %s: want text, dot or svg", format))
			}
			p, err := a.loadAlone(args)
			if err != nil {
				return err
			}
			a.ui.JSON(graph.Needs(p.Pipeline))
			a.ui.Printf("%s", strings.TrimSuffix(draw(p.Pipeline), "\n"))
			return nil
		},
	}
	c.Flags().StringVar(&format, "format", "text", "text, dot or svg")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "dot", "svg"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}
