package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// report is the agent's view of its host, for the action status.
type report struct {
	CPU       float64 `json:"cpu"`    // per cent of the host's capacity
	Memory    float64 `json:"memory"` // per cent of the host's capacity
	Cores     float64 `json:"cores"`
	Processes int     `json:"processes"`
	Hogs      int     `json:"hogs"`
	Actions   int     `json:"actions"` // since the agent started
	Last      string  `json:"last,omitempty"`
	Leash     bool    `json:"leash,omitempty"`
	Top       []usage `json:"top,omitempty"` // the processes that use most of the CPU, the greatest first
}

// status shows the last report of every host that has an agent.
func status(ctx context.Context, _ *config, _ sdk.Args, job *sdk.Job) error {
	t := sdk.Table{Columns: []string{"host", "role", "seen", "cpu", "memory", "processes", "hogs", "actions", "last"}}
	err := eachReport(ctx, job, func(h sdk.Host, at time.Time, r report) {
		row := []string{string(h.Name), h.Role, "never", "", "", "", "", "", "no agent has reported; run the pipeline to install it"}
		if !at.IsZero() {
			last := r.Last
			if r.Leash {
				last = "(leash) " + last
			}
			row = []string{
				string(h.Name), h.Role, time.Since(at).Round(time.Second).String() + " ago",
				fmt.Sprintf("%.0f %% of %g cores", max(0, r.CPU), r.Cores), fmt.Sprintf("%.0f %%", r.Memory),
				fmt.Sprint(r.Processes), fmt.Sprint(r.Hogs), fmt.Sprint(r.Actions), last,
			}
		}
		t.Rows = append(t.Rows, row)
	})
	if err == nil {
		job.Table(t)
	}
	return err
}

// eachReport calls do with the last report of every host that may have an agent; at is zero where none has reported.
func eachReport(ctx context.Context, job *sdk.Job, do func(h sdk.Host, at time.Time, r report)) error {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		if !h.Has("production") && !h.Has("canary") {
			continue
		}
		var r report
		at, err := sdk.ReadReport(ctx, job, reportName, h.Name, &r)
		if err != nil {
			return err
		}
		do(h, at, r)
	}
	return nil
}
