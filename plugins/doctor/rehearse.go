package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// recordedJudge repeats the verdicts that the agent reached on its host, and adds what the manifest protects
// now.
type recordedJudge struct {
	verdicts map[ident]*spared
	now      *guard
}

func (r *recordedJudge) Judge(f facts) *spared {
	no := r.verdicts[f.ident]
	if no != nil && no.Rule != ruleSystem {
		return no
	}
	names := &accounts{names: map[uint32]string{}}
	if len(f.UIDs) > 1 {
		names.names[f.UIDs[1]] = f.User
	}
	if extra := r.now.configured(names, f); extra != nil {
		return extra
	}
	return no
}

// rehearse replays a recording against the manifest's policy. A process that would have been ended is left out
// from then on.
func rehearse(ctx context.Context, c *config, args sdk.Args, job *sdk.Job) error {
	d := c.withDefaults()
	file, err := os.Open(args["file"])
	if err != nil {
		return fmt.Errorf("open recording: %w", err)
	}
	defer file.Close()
	judge := &recordedJudge{verdicts: map[ident]*spared{}, now: &guard{extra: *d.Protect}}
	var (
		rows    [][]string
		p       *policy
		wanted  = map[ident]demand{}
		w       = newWindows(d.limits(), func(id ident) (demand, error) { return wanted[id], nil })
		known   = map[ident]facts{}
		ended   = map[ident]bool{}
		samples int
	)
	err = readRecording(file, func(e entry) {
		if ctx.Err() != nil {
			return
		}
		if p == nil {
			p, err = newPolicy(d, e.Role, judge)
			if err != nil {
				return
			}
		}
		samples++
		s := sample{Time: e.Time, Host: e.Host}
		for _, r := range e.Procs {
			if r.Facts != nil {
				known[r.ident] = *r.Facts
				judge.verdicts[r.ident] = nil
				if r.Rule != "" {
					judge.verdicts[r.ident] = &spared{Rule: r.Rule, Reason: r.Why}
				}
			}
			wanted[r.ident] = demand{Wait: r.Wait, Sleeps: r.Sleep}
			if !ended[r.ident] {
				s.Procs = append(s.Procs, usage{ident: r.ident, CPU: r.CPU, RSS: r.RSS})
			}
		}
		for _, pt := range p.Due(e.Time, w.Add(s)) {
			f, ok := known[pt.hog.ident]
			if !ok {
				continue
			}
			dec := p.Decide(e.Time, pt, f, nil)
			if !dec.tell {
				continue
			}
			what := string(dec.step)
			if !dec.act {
				what = "spare: " + dec.spared.Reason
			} else if dec.step == stepTerminate || dec.step == stepKill || dec.step == stepRestart {
				ended[pt.hog.ident] = true
			}
			rows = append(rows, []string{
				e.Time.UTC().Format("2006-01-02 15:04:05"), fmt.Sprint(f.PID), filepath.Base(f.Executable), f.User,
				fmt.Sprintf("%s %.0f %%", pt.hog.Resource, pt.hog.Value), what,
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
