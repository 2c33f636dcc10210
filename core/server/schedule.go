package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/robfig/cron/v3"
	"go.etcd.io/bbolt"

	"github.com/seed-b96de936/troop/core"
)

// clockPause is how often the server looks what is due. The times of cron are whole minutes.
const clockPause = 15 * time.Second

// keepTime does what the manifests' schedules say, until ctx ends.
func (s *Server) keepTime(ctx context.Context) {
	tick := time.NewTicker(clockPause)
	defer tick.Stop()
	for {
		for _, name := range s.names {
			if err := s.due(ctx, s.pipelines[name], time.Now()); err != nil && ctx.Err() == nil {
				s.o.Note(fmt.Sprintf("schedules of %s: %v", name, err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// due does what is due in a pipeline. What became due while no server ran is done once. A schedule that is new begins now.
func (s *Server) due(ctx context.Context, v *served, now time.Time) error {
	p, err := v.read(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, x := range p.Schedules {
		last, next, err := s.nextOf(v, x, now)
		if err != nil {
			return err
		}
		if !last.IsZero() && next.After(now) {
			continue
		}
		// It is noted first: rather once too few than again and again.
		err = s.db.Update(func(tx *bbolt.Tx) error { return put(tx, schedulesBucket, scheduleKey(v, x), now) })
		if err == nil && !last.IsZero() {
			err = s.doScheduled(ctx, v, x)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", x.Name, err))
		}
	}
	return failed
}

func scheduleKey(v *served, x core.Schedule) []byte { return []byte(v.Name + "\n" + x.Name) }

// nextOf returns when a schedule was carried out last, or has begun, and when it is due; last is zero for a new one.
func (s *Server) nextOf(v *served, x core.Schedule, now time.Time) (last, next time.Time, err error) {
	times, err := cron.ParseStandard(x.Cron)
	if err != nil {
		return last, next, err
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		last, _, err = get[time.Time](tx, schedulesBucket, scheduleKey(v, x))
		return err
	})
	from := last
	if from.IsZero() {
		from = now
	}
	return last, times.Next(from.UTC()), err
}

// doScheduled carries a schedule out.
func (s *Server) doScheduled(ctx context.Context, v *served, x core.Schedule) error {
	by := "schedule " + x.Name
	if x.Does == core.ScheduleRun {
		list, err := s.queue()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(j Job) bool { return j.Pipeline == v.Name && j.By == by }) {
			return nil // the one before has not ended
		}
		if v.mirror != "" {
			if err := v.update(ctx); err != nil {
				return err
			}
		}
		_, err = s.enqueue(ctx, v, request{options: core.RunOptions{Branch: x.Branch, Environment: x.Environment}, by: by})
		return err
	}
	ctx = context.WithValue(ctx, callerKey{}, caller{Account: Account{Name: by}})
	words := []string{"drift"}
	if x.Does == core.ScheduleDrill {
		words = []string{"maintenance", "drill"}
	}
	_, err := s.do(ctx, v, x.Environment, "", words, nil)
	return err
}

// planned is a schedule as its page shows it.
type planned struct {
	core.Schedule
	Next time.Time
}

// planned lists the schedules of a pipeline with their next times.
func (s *Server) planned(v *served, list []core.Schedule) (out []planned, err error) {
	for _, x := range list {
		_, next, err := s.nextOf(v, x, time.Now())
		if err != nil {
			return nil, err
		}
		out = append(out, planned{x, next})
	}
	return out, nil
}
