package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
	"github.com/seed-b96de936/troop/plugins/doctor/record"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// recordedJudge returns the recorded verdicts of the agent, plus the manifest's present protection.
type recordedJudge struct {
	verdicts map[process.Ident]*protect.Spared
	extra    protect.Extra
}

func (r *recordedJudge) Judge(f process.Facts) *protect.Spared {
	no := r.verdicts[f.Ident]
	if no != nil && no.Rule != protect.RuleSystem {
		return no
	}
	user := func(uid uint32) string {
		if int64(uid) == f.EffectiveUID() {
			return f.User
		}
		return ""
	}
	if extra := r.extra.Judge(f, user); extra != nil {
		return extra
	}
	return no
}

// rehearse replays a recording with the manifest's policy. A process that would have been ended is ignored afterwards.
func rehearse(ctx context.Context, c *config, args sdk.Args, job *sdk.Job) error {
	d := c.withDefaults()
	file, err := os.Open(args["file"])
	if err != nil {
		return fmt.Errorf("open recording: %w", err)
	}
	defer file.Close()
	judge := &recordedJudge{verdicts: map[process.Ident]*protect.Spared{}, extra: protect.Extra(*d.Protect)}
	var (
		rows    [][]string
		p       *ladder.Policy
		wanted  = map[process.Ident]process.Demand{}
		w       = limit.NewWindows(d.limits(), func(id process.Ident) (process.Demand, error) { return wanted[id], nil })
		known   = map[process.Ident]process.Facts{}
		ended   = map[process.Ident]bool{}
		samples int
	)
	err = record.Read(file, func(e record.Entry) {
		if ctx.Err() != nil {
			return
		}
		if p == nil {
			p = ladder.New(d.policy(e.Role), judge, ladder.Memory{})
		}
		samples++
		s := sample.Sample{Time: e.Time, Host: e.Host}
		for _, r := range e.Procs {
			if r.Facts != nil {
				known[r.Ident] = *r.Facts
				judge.verdicts[r.Ident] = nil
				if r.Rule != "" {
					judge.verdicts[r.Ident] = &protect.Spared{Rule: r.Rule, Reason: r.Why}
				}
			}
			wanted[r.Ident] = process.Demand{Wait: r.Wait, Sleeps: r.Sleep}
			if !ended[r.Ident] {
				s.Procs = append(s.Procs, sample.Usage{Ident: r.Ident, CPU: r.CPU, RSS: r.RSS})
			}
		}
		for _, pt := range p.Due(e.Time, w.Add(s)) {
			f, ok := known[pt.Hog.Ident]
			if !ok {
				continue
			}
			dec := p.Decide(e.Time, pt, f, nil)
			if !dec.Tell {
				continue
			}
			what := string(dec.Step)
			if !dec.Act {
				what = "spare: " + dec.Spared.Reason
			} else if dec.Step == ladder.Terminate || dec.Step == ladder.Kill || dec.Step == ladder.Restart {
				ended[pt.Hog.Ident] = true
			}
			rows = append(rows, []string{
				e.Time.UTC().Format("2006-01-02 15:04:05"), fmt.Sprint(f.PID), filepath.Base(f.Executable), f.User,
				fmt.Sprintf("%s %.0f %%", pt.Hog.Resource, pt.Hog.Value), what,
			})
		}
		p.Recovered(e.Time, w.Alive)
	})
	if err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	job.Table(sdk.Table{Columns: []string{"time", "pid", "program", "user", "use", "would"}, Rows: rows})
	job.Logf("%d samples replayed, %d decisions", samples, len(rows))
	return nil
}
