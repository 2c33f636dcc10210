package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

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

func (r *recordedJudge) learn(id process.Ident, rule protect.Rule, why string) {
	r.verdicts[id] = nil
	if rule != "" {
		r.verdicts[id] = &protect.Spared{Rule: rule, Reason: why}
	}
}

// rehearsal replays a recording with another policy.
type rehearsal struct {
	config  config
	judge   *recordedJudge
	policy  *ladder.Policy // nil: before the first entry
	windows *limit.Windows
	demand  map[process.Ident]process.Demand
	known   map[process.Ident]process.Facts
	most    map[uint32]process.Facts // the process of each user that uses most
	ended   map[string]bool          // hogs that would have been ended or limited, by key
	used    map[process.Ident]time.Duration
	dropped map[uint32]time.Duration // what processes used after they would have been ended, by user
	samples int
	rows    [][]string
}

// rehearse replays a recording with the manifest's policy. What would have been ended or limited is ignored afterwards.
func rehearse(ctx context.Context, c *config, args sdk.Args, job *sdk.Job) error {
	d := c.withDefaults()
	file, err := os.Open(args["file"])
	if err != nil {
		return fmt.Errorf("open recording: %w", err)
	}
	defer file.Close()
	r := &rehearsal{
		config: d, judge: &recordedJudge{verdicts: map[process.Ident]*protect.Spared{}, extra: protect.Extra(*d.Protect)},
		demand: map[process.Ident]process.Demand{}, known: map[process.Ident]process.Facts{}, most: map[uint32]process.Facts{}, ended: map[string]bool{},
		used: map[process.Ident]time.Duration{}, dropped: map[uint32]time.Duration{},
	}
	r.windows = limit.NewWindows(d.limits(), limit.Readers{Demand: func(id process.Ident) (process.Demand, error) { return r.demand[id], nil }})
	left, err := record.Read(file, func(e record.Entry) {
		if ctx.Err() == nil {
			r.play(e)
		}
	})
	if err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	job.Table(sdk.Table{Columns: []string{"time", "pid", "program", "user", "use", "would"}, Rows: r.rows})
	job.Logf("%d samples replayed, %d decisions", r.samples, len(r.rows))
	if left.Lines > 0 {
		job.Warnf("%d lines of the recording are damaged and were left out, the first is line %d: decisions around them may be missing", left.Lines, left.First)
	}
	return nil
}

// play replays one entry.
func (r *rehearsal) play(e record.Entry) {
	if r.policy == nil {
		r.policy = ladder.New(r.config.policy(e.Role), r.judge, ladder.Memory{})
	}
	r.samples++
	for _, pt := range r.policy.Due(e.Time, r.windows.Add(r.sample(e))) {
		f, ok := r.known[pt.Hog.Ident]
		if pt.Hog.UID != 0 {
			f, ok = r.most[pt.Hog.UID]
		}
		if !ok {
			continue
		}
		d := r.policy.Decide(e.Time, pt, f, nil)
		if !d.Tell {
			continue
		}
		what := string(d.Step)
		if !d.Act {
			what = "spare: " + d.Spared.Reason
		} else if d.Step != ladder.Alert && d.Step != ladder.Renice {
			r.ended[pt.Hog.Key()] = true
		}
		program := filepath.Base(f.Executable)
		if pt.Hog.UID != 0 {
			program = "all; most: " + program
		}
		r.rows = append(r.rows, []string{
			e.Time.UTC().Format("2006-01-02 15:04:05"), fmt.Sprint(f.PID), program, f.User, fmt.Sprintf("%s %.0f %%", pt.Hog.Resource, pt.Hog.Value), what,
		})
	}
	r.policy.Recovered(e.Time, r.windows.Alive)
	r.policy.Each(func(pt *ladder.Patient) { r.windows.Hurry(pt.Hog, pt.Returns) })
}

// sample makes a sample of an entry, and learns what the entry says about its processes.
func (r *rehearsal) sample(e record.Entry) sample.Sample {
	s := sample.Sample{Time: e.Time, Host: e.Host}
	for _, p := range e.Procs {
		if p.Facts != nil {
			r.known[p.Ident] = *p.Facts
			r.judge.learn(p.Ident, p.Rule, p.Why)
		}
		r.demand[p.Ident] = p.Wants
		uid := uint32(max(0, r.known[p.Ident].EffectiveUID()))
		before := r.used[p.Ident]
		r.used[p.Ident] = p.CPU
		if r.ended[limit.Hog{Ident: p.Ident, Resource: "cpu"}.Key()] || r.ended[limit.Hog{Ident: p.Ident, Resource: "memory"}.Key()] {
			r.dropped[uid] += p.CPU - before
			continue
		}
		u := sample.Usage{Ident: p.Ident, CPU: p.CPU, RSS: p.RSS, Owner: process.Owner{UID: uid, Session: uid > 0 && !p.Service, Agent: process.OfAgent(r.known[p.Ident].Cgroup)}}
		s.Procs = append(s.Procs, u)
	}
	for _, u := range e.Users {
		if u.Facts != nil {
			r.most[u.UID] = *u.Facts
			r.judge.learn(u.Facts.Ident, u.Rule, u.Why)
		}
		if !r.ended[limit.Hog{UID: u.UID, Resource: "cpu"}.Key()] {
			s.Users = append(s.Users, sample.UserUsage{UID: u.UID, CPU: u.CPU - r.dropped[u.UID]})
		}
	}
	return s
}
