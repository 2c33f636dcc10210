package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/tail"
)

func (a *app) tailCmd() *cobra.Command {
	var host, grep string
	var since time.Duration
	var o tail.Options
	c := &cobra.Command{
		Use: "tail [MANIFEST] [SERVICE]", Short: "Show what services log on all hosts, in order of time",
		RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.open(c, args)
			if err != nil {
				return err
			}
			if len(rest) > 1 {
				return line.Usage(fmt.Errorf("want one service at most, got %d", len(rest)))
			}
			if len(rest) == 1 {
				o.Service = rest[0]
			}
			if o.Grep, err = regexp.Compile(grep); err != nil {
				return line.Usage(err)
			}
			o.Since = time.Now().Add(-since)
			return line.UnlessEnded(c.Context(), e.Tail(c.Context(), o, host, a.printLine, a.ui.Note))
		},
	}
	f := c.Flags()
	f.StringVar(&host, "host", "", "only this host")
	f.StringVar(&o.Program, "process", "", "only this process, task or schedule, or with the service's own name what answers requests")
	f.StringVar(&grep, "grep", "", "only lines that match this regular `expression`")
	f.DurationVar(&since, "since", 5*time.Minute, "how far back")
	f.BoolVarP(&o.Follow, "follow", "f", true, "go on until interrupted")
	return c
}

// printLine prints a line of a service's log.
func (a *app) printLine(l tail.Line) {
	if !a.json {
		_, _ = fmt.Fprintln(a.text, l)
		return
	}
	_ = json.NewEncoder(a.out).Encode(l) // whoever reads has gone
}
