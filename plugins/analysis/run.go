package main

import (
	"context"
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// mostFindings is how many findings of one gate are reported one by one.
const mostFindings = 200

// verdict is what a gate says: reason is empty when it is content.
type verdict struct {
	reason   string
	findings int
}

// run asks every gate before it says no: what is wrong with a commit is told at once. That a gate could not do
// its work is an error, whatever the others said.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	if len(c.Lint) == 0 && c.Comments == nil && c.Secrets == nil {
		return sdk.Skipf("no lint, comments or secrets block asks for anything")
	}
	var gates []func() (verdict, error)
	for _, g := range c.Lint {
		gates = append(gates, func() (verdict, error) { return g.judge(ctx, job) })
	}
	if c.Comments != nil || c.Secrets != nil {
		files, err := listFiles(ctx, job, job.Info.Workspace)
		if err != nil {
			return err
		}
		if c.Comments != nil {
			gates = append(gates, func() (verdict, error) { return c.Comments.judge(job, files) })
		}
		if c.Secrets != nil {
			gates = append(gates, func() (verdict, error) { return c.Secrets.judge(ctx, job, job.Info.Workspace, files) })
		}
	}

	var reasons []string
	findings := 0
	for i, judge := range gates {
		job.Progress(float64(i), float64(len(gates)), "")
		v, err := judge()
		if err != nil {
			return err
		}
		findings += v.findings
		if v.reason != "" {
			reasons = append(reasons, v.reason)
		}
	}
	job.Output("findings", findings)
	if len(reasons) > 0 {
		return sdk.Failf("%s", strings.Join(reasons, "; "))
	}
	return nil
}

// say reports findings, the first mostFindings of them one by one.
func say(job *sdk.Job, list []sdk.Finding) {
	for i, f := range list {
		if i == mostFindings {
			job.Warnf("and %d more findings", len(list)-mostFindings)
			return
		}
		job.Finding(f)
	}
}
