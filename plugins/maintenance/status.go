package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// status shows the last report of every host that has an agent.
func status(ctx context.Context, _ *config, _ sdk.Args, job *sdk.Job) error {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return err
	}
	t := sdk.Table{Columns: []string{"host", "role", "seen", "waiting", "moved", "receipts", "last", "problems"}}
	for _, h := range hosts {
		if !h.Has("production") && !h.Has("canary") {
			continue
		}
		var r hostReport
		at, err := sdk.ReadReport(ctx, job, reportName, h.Name, &r)
		if err != nil {
			return err
		}
		if at.IsZero() {
			t.Rows = append(t.Rows, []string{string(h.Name), h.Role, "never", "", "", "", "", "no agent has reported; run the pipeline to install it"})
			continue
		}
		last := ""
		if r.Last != nil {
			last = r.Last.Path.String() + " " + r.Last.Verified.Format("2006-01-02 15:04:05")
		}
		t.Rows = append(t.Rows, []string{
			string(h.Name), h.Role, time.Since(at).Round(time.Second).String() + " ago", r.Backlog.String(), r.Moved.String(),
			fmt.Sprint(r.Receipts), last, strings.Join(r.Problems, ", "),
		})
	}
	job.Table(t)
	return nil
}

func (a amount) String() string { return fmt.Sprintf("%d files, %s", a.Files, human(a.Bytes)) }
