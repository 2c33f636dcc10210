package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest/graph"
)

var drawings = map[string]func(*core.Pipeline) string{"text": graph.Text, "dot": graph.DOT, "svg": graph.SVG}

func (a *app) graphCmd() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "graph [MANIFEST]", Short: "Draw which stages wait for which",
		Example: "  troop graph\n  troop graph --format svg >pipeline.svg\n  troop graph --format dot | dot -Tpng >pipeline.png",
		RunE: func(_ *cobra.Command, args []string) error {
			draw := drawings[format]
			if draw == nil {
				return usage{fmt.Errorf("--format %s: want text, dot or svg", format)}
			}
			p, rest, err := a.load(args)
			if err == nil {
				err = want(rest)
			}
			if err != nil {
				return err
			}
			a.ui.JSON(needs(p.Pipeline))
			a.ui.Printf("%s", strings.TrimSuffix(draw(p.Pipeline), "\n"))
			return nil
		},
	}
	c.Flags().StringVar(&format, "format", "text", "text, dot or svg")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "dot", "svg"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

type stageNeeds struct {
	Stage core.StageID   `json:"stage"`
	Needs []core.StageID `json:"needs"`
}

func needs(p *core.Pipeline) []stageNeeds {
	list := make([]stageNeeds, 0, len(p.Stages))
	for _, s := range p.Stages {
		list = append(list, stageNeeds{s.ID(), append([]core.StageID{}, s.Needs...)})
	}
	return list
}
