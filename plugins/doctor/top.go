package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// usage is what one process uses, in the agent's report.
type usage struct {
	PID     int     `json:"pid"`
	User    string  `json:"user"`
	Program string  `json:"program"`
	CPU     float64 `json:"cpu"`    // per cent of one core since the last sample
	Memory  float64 `json:"memory"` // per cent of the host's, with what it shares
}

// shownUses is the number of processes that a report has.
const shownUses = 5

// greatest returns the processes that use most of the CPU.
func (a *agent) greatest(h sample.Host) []usage {
	procs := slices.DeleteFunc(slices.Clone(a.procs), func(u sample.Usage) bool { return a.windows.Percent(u.Ident) < 1 })
	slices.SortFunc(procs, func(x, y sample.Usage) int {
		return cmp.Or(cmp.Compare(a.windows.Percent(y.Ident), a.windows.Percent(x.Ident)), cmp.Compare(x.PID, y.PID))
	})
	var list []usage
	for _, u := range procs[:min(len(procs), shownUses)] {
		f, _, err := a.look(u.Ident)
		if err != nil {
			continue // it has ended, or cannot be examined
		}
		name := f.Comm
		if f.Executable != "" {
			name = filepath.Base(f.Executable)
		}
		user := f.User
		if uid := f.EffectiveUID(); user == "" && uid >= 0 {
			user = strconv.FormatInt(uid, 10)
		}
		list = append(list, usage{PID: u.PID, User: user, Program: name, CPU: round(a.windows.Percent(u.Ident)), Memory: round(h.Share(u.RSS))})
	}
	return list
}

// top shows the hosts and their greatest processes until it is interrupted, or for a number of times.
func top(ctx context.Context, _ *config, args sdk.Args, job *sdk.Job) error {
	every, err := time.ParseDuration(args["every"])
	if err != nil || every < time.Second {
		return fmt.Errorf("--every: want a time of 1s or more such as 5s, got %q", args["every"])
	}
	count, err := strconv.Atoi(args["count"])
	if err != nil || count < 0 {
		return fmt.Errorf("--count: want 0 or a number of tables, got %q", args["count"])
	}
	for n := 1; ; n++ {
		t, err := ranking(ctx, job)
		if err == nil {
			job.Table(t)
		} else if ctx.Err() == nil { // Ctrl-C is how it ends
			return err
		}
		if n == count {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// ranking is a row for each host, followed by those of its greatest processes.
func ranking(ctx context.Context, job *sdk.Job) (sdk.Table, error) {
	t := sdk.Table{Columns: []string{"host", "seen", "pid", "user", "program", "cpu", "memory"}}
	err := eachReport(ctx, job, func(h sdk.Host, at time.Time, r report) {
		if at.IsZero() {
			t.Rows = append(t.Rows, []string{string(h.Name), "never", "", "", "", "", ""})
			return
		}
		seen := time.Since(at).Round(time.Second).String() + " ago"
		t.Rows = append(t.Rows, []string{
			string(h.Name), seen, "", "", fmt.Sprintf("%d processes, %d hogs", r.Processes, r.Hogs),
			fmt.Sprintf("%.0f %% of %g cores", max(0, r.CPU), r.Cores), fmt.Sprintf("%.0f %%", r.Memory),
		})
		for _, u := range r.Top {
			t.Rows = append(t.Rows, []string{
				string(h.Name), seen, strconv.Itoa(u.PID), u.User, u.Program, fmt.Sprintf("%.0f %%", u.CPU), fmt.Sprintf("%.0f %%", u.Memory),
			})
		}
	})
	return t, err
}
