package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/queue"
	"github.com/seed-b96de936/troop/core/store"
)

// queueVariable holds the address of the Redis that a server and its workers share, with its password.
const queueVariable = "TROOP_QUEUE_URL"

const workersRemedy = "start troop worker --label on such a machine, with " + queueVariable + " there and here, for a pipeline of a git remote with a store block"

// silence is how long nothing is heard of a worker, or of its run, before another run takes the place: three of a run's
// beats.
const silence = 15 * time.Second

// ownLabels are the labels of this machine.
func ownLabels() []string {
	labels := []string{runtime.GOOS, runtime.GOARCH}
	if name, err := os.Hostname(); err == nil && core.IsLabel(strings.ToLower(name)) {
		labels = append(labels, strings.ToLower(name))
	}
	return labels
}

// missing returns the labels of want that are not in have.
func missing(want, have []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(l string) bool { return slices.Contains(have, l) })
}

// offered is what a worker is told of a run.
type offered struct {
	Run core.RunOptions `json:"run"`
	By  string          `json:"by"`
}

// offer offers a job to the workers.
func (s *Server) offer(ctx context.Context, j Job) error {
	t, err := s.workers.Offer(ctx, queue.Lane{Pipeline: j.Pipeline, Labels: j.Labels}, offered{j.Run, j.By})
	if err != nil {
		return err
	}
	j.Ticket = &t
	if err := s.putJob(j); err != nil {
		return errors.Join(err, s.workers.Withdraw(ctx, t))
	}
	go s.oversee(ctx, j)
	return nil
}

// oversee follows a job that was offered, until it has ended or ctx has.
func (s *Server) oversee(ctx context.Context, j Job) {
	if s.workers == nil {
		s.o.Note(fmt.Sprintf("run %s was offered to workers; %s is not set, so nobody follows it", j.Run.ID.Short(), queueVariable))
		return
	}
	news := s.workers.News(ctx)
	told := ""
	for {
		over, err := s.check(ctx, &j)
		if over {
			s.poke()
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != told {
			told = err.Error()
			s.o.Note(fmt.Sprintf("run %s: %v", j.Run.ID.Short(), err))
		}
		if over {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-time.After(awaitPause):
		}
	}
}

// check brings a job up to date with what its worker and its record say, and reports whether it is over.
func (s *Server) check(ctx context.Context, j *Job) (over bool, err error) {
	now, ok, err := s.job(j.Run.ID)
	if err != nil || !ok {
		return !ok && err == nil, err // somebody has taken it out of the queue
	}
	*j = now
	v, ok := s.pipelines[j.Pipeline]
	if !ok {
		return true, s.drop(ctx, *j, fmt.Errorf("the pipeline %s is not served any more", j.Pipeline))
	}
	p, err := v.read(ctx)
	if err != nil {
		return false, err
	}
	at, away := s.workers.Look(ctx, *j.Ticket) // while Redis is away, the record alone tells
	if at.Worker != "" && j.Worker != at.Worker {
		j.Worker, j.Started = at.Worker, time.Now()
		if err := s.putJob(*j); err != nil {
			return false, err
		}
		s.report(*j, core.Running, "runs on "+j.Worker)
	}
	if at.Problem != "" {
		return true, errors.Join(s.workers.Withdraw(ctx, *j.Ticket), s.drop(ctx, *j, fmt.Errorf("worker %s: %s", j.Worker, at.Problem)))
	}
	r, err := p.Files.Run(ctx, j.Run.ID)
	none := unrecorded(err)
	switch {
	case err == nil && !r.Ended.IsZero():
		return true, errors.Join(s.workers.Withdraw(ctx, *j.Ticket), s.over(ctx, *j))
	case err != nil && !none:
		return false, err
	case away != nil:
		return false, away
	case none && at.Lost: // Redis has lost it before anybody has begun it; should somebody be about to, only one can
		return false, s.offerAgain(ctx, j)
	case at.Worker == "" && !at.Lost:
		return false, nil
	}
	return s.dead(ctx, p.Files, j, at, r, none)
}

// dead looks whether the worker of a job, or its run, is dead, and puts another run into its place.
func (s *Server) dead(ctx context.Context, files *store.Files, j *Job, at queue.Standing, r core.Run, none bool) (over bool, err error) {
	reason := fmt.Sprintf("worker %s was not heard of", j.Worker)
	if at.Ended {
		reason = "its process ended on worker " + j.Worker
	}
	gone := at.Ended && none || !none && r.Status == core.Cancelled // the process is known to be gone
	if !gone {
		if !at.Ended && !at.Lost && at.Silent < silence {
			return false, nil
		}
		if !none {
			quiet, err := files.Silent(ctx, j.Run.ID)
			if err != nil || quiet < silence {
				return false, err
			}
		}
	}
	o := j.Run
	err = files.Interrupt(ctx, core.Run{
		ID: o.ID, Pipeline: j.Pipeline, Manifest: j.Manifest, Commit: o.Commit, Subject: o.Subject, Branch: o.Branch, Tag: o.Tag, Environment: o.Environment,
	}, reason)
	if errors.Is(err, core.ErrChanged) {
		return false, nil // it lives, or has just ended
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(s.workers.Withdraw(ctx, *j.Ticket), s.again(ctx, *j))
}

// offerAgain offers a job that Redis has lost.
func (s *Server) offerAgain(ctx context.Context, j *Job) error {
	t, err := s.workers.Offer(ctx, j.Ticket.Lane, offered{j.Run, j.By})
	if err != nil {
		return err
	}
	j.Ticket, j.Worker, j.Started = &t, "", time.Time{}
	return s.putJob(*j)
}

// recall ends a job that is for workers.
func (s *Server) recall(ctx context.Context, j Job, by string) error {
	j.Ends = true
	if err := s.putJob(j); err != nil {
		return err
	}
	if j.Ticket == nil {
		return s.drop(ctx, j, fmt.Errorf("%s cancelled it while it waited", by))
	}
	at, err := s.workers.Look(ctx, *j.Ticket)
	if err != nil {
		return err
	}
	if at.Worker == "" {
		return errors.Join(s.workers.Withdraw(ctx, *j.Ticket), s.drop(ctx, j, fmt.Errorf("%s cancelled it while it waited", by)))
	}
	return s.workers.Cancel(ctx, *j.Ticket)
}

// present lists the workers that serve a pipeline which the caller may see, also those that are gone.
func (s *Server) present(ctx context.Context) ([]queue.Worker, error) {
	list := []queue.Worker{}
	if s.workers == nil {
		return list, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	all, err := s.workers.Workers(ctx)
	for _, w := range all {
		w.Pipelines = slices.DeleteFunc(w.Pipelines, func(name string) bool { return !callerOf(ctx).anywhere(name).atLeast(Viewer) })
		if len(w.Pipelines) > 0 {
			list = append(list, w)
		}
	}
	return list, err
}

func (s *Server) apiWorkers(w http.ResponseWriter, r *http.Request) error {
	list, err := s.present(r.Context())
	return answer(w, list, err)
}
