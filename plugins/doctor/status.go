package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// report is what an agent says of its host for the status action.
type report struct {
	Time      time.Time `json:"time"`
	CPU       float64   `json:"cpu"`    // per cent of the host's capacity
	Memory    float64   `json:"memory"` // per cent of the host's capacity
	Cores     float64   `json:"cores"`
	Processes int       `json:"processes"`
	Hogs      int       `json:"hogs"`
	Actions   int       `json:"actions"` // since the agent started
	Last      string    `json:"last,omitempty"`
	Leash     bool      `json:"leash,omitempty"`
}

func reportKey(stage, host string) string { return "report/" + stage + "/" + host }

// status shows the last report of every host that has an agent.
func status(ctx context.Context, _ *config, _ sdk.Args, job *sdk.Job) error {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return err
	}
	t := sdk.Table{Columns: []string{"host", "role", "seen", "cpu", "memory", "processes", "hogs", "actions", "last"}}
	for _, h := range hosts {
		if h.Role != "production" && h.Role != "canary" {
			continue
		}
		e, err := job.State(ctx, reportKey(string(job.Info.Stage), string(h.Name)))
		if err != nil {
			return err
		}
		row := []string{string(h.Name), h.Role, "never", "", "", "", "", "", "no agent has reported; run the pipeline to install it"}
		if e.Version > 0 {
			var r report
			if err := json.Unmarshal(e.Value, &r); err != nil {
				return fmt.Errorf("read report of host %s: %w", h.Name, err)
			}
			last := r.Last
			if r.Leash {
				last = "(leash) " + last
			}
			row = []string{
				string(h.Name), h.Role, time.Since(r.Time).Round(time.Second).String() + " ago",
				fmt.Sprintf("%.0f %% of %g cores", max(0, r.CPU), r.Cores), fmt.Sprintf("%.0f %%", r.Memory),
				fmt.Sprint(r.Processes), fmt.Sprint(r.Hogs), fmt.Sprint(r.Actions), last,
			}
		}
		t.Rows = append(t.Rows, row)
	}
	job.Table(t)
	return nil
}
