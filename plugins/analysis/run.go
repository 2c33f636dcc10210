package main

import (
	"context"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// mostFindings is the maximum number of findings that are reported per gate.
const mostFindings = 200

// verdict is the result of a gate. It passed if reason is empty.
type verdict struct {
	reason   string
	findings int
}

// run runs all gates before it fails, so that one run reports all problems of a commit. A gate that cannot do its work is an
// error, regardless of the others.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	if len(c.Lint) == 0 && c.Comments == nil && c.Secrets == nil {
		return sdk.Skipf("there is no lint, comments or secrets block")
	}
	var gates []func() (verdict, error)
	for _, g := range c.Lint {
		gates = append(gates, func() (verdict, error) { return g.judge(ctx, job) })
	}
	files := sync.OnceValues(func() ([]string, error) { return listFiles(ctx, job, job.Info.Workspace) })
	onFiles := func(judge func(files []string) (verdict, error)) func() (verdict, error) {
		return func() (verdict, error) {
			list, err := files() // after the linters, since some change files
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

// say reports the first mostFindings findings and the number of others.
func say(job *sdk.Job, list []sdk.Finding) {
	for i, f := range list {
		if i == mostFindings {
			job.Warnf("and %d more findings", len(list)-mostFindings)
			return
		}
		job.Finding(f)
	}
}
