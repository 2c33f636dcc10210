package main

import (
	"context"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// mostFindings is how many findings of one gate are reported one by one.
const mostFindings = 200

// verdict is the result of a gate. An empty reason passes.
type verdict struct {
	reason   string
	findings int
}

// run asks every gate before it fails, so that one run tells all that is wrong with a commit. A gate that cannot do
// its work is an error, whatever the others found.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	if len(c.Lint) == 0 && c.Comments == nil && c.Secrets == nil {
		return sdk.Skipf("no lint, comments or secrets block asks for anything")
	}
	var gates []func() (verdict, error)
	for _, g := range c.Lint {
		gates = append(gates, func() (verdict, error) { return g.judge(ctx, job) })
	}
	files := sync.OnceValues(func() ([]string, error) { return listFiles(ctx, job, job.Info.Workspace) })
	onFiles := func(judge func(files []string) (verdict, error)) func() (verdict, error) {
		return func() (verdict, error) {
			list, err := files() // after the linters, some of which change files
			if err != nil {
				return verdict{}, err
			}
			return judge(list)
		}
	}
	if c.Comments != nil {
		gates = append(gates, onFiles(func(list []string) (verdict, error) { return c.Comments.judge(ctx, job, list) }))
	}
	if c.Secrets != nil {
		gates = append(gates, onFiles(func(list []string) (verdict, error) {
			return c.Secrets.judge(ctx, job, job.Info.Workspace, list)
		}))
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
