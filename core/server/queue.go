package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/project"
	"github.com/seed-b96de936/troop/core/queue"
)

// Job is a run that waits or goes on. It is a process of its own, here or on a worker's machine, which a server that dies
// does not take with it.
type Job struct {
	Number   uint64          `json:"number"`
	Pipeline string          `json:"pipeline"`
	Manifest string          `json:"manifest"`
	Run      core.RunOptions `json:"run"`
	By       string          `json:"by"`
	Reason   string          `json:"reason,omitempty"`
	Queued   time.Time       `json:"queued"`
	Started  time.Time       `json:"started,omitzero"` // zero: it waits
	PID      int             `json:"pid,omitempty"`    // here
	Away     bool            `json:"away,omitempty"`   // it is for workers on other machines
	Labels   []string        `json:"labels,omitempty"` // that a worker needs
	Ticket   *queue.Ticket   `json:"ticket,omitempty"` // with which it was offered to them
	Worker   string          `json:"worker,omitempty"` // who has taken it
	Again    int             `json:"again,omitempty"`  // how many runs before it were interrupted
	Ends     bool            `json:"ends,omitempty"`   // somebody cancelled it
	Fork     string          `json:"fork,omitempty"`   // of which it is, until somebody lets it begin
}

// place is what only one run may use at a time.
func (j Job) place() string { return j.Pipeline + "/" + j.Run.Environment }

// mostAgain is how often an interrupted run is begun again.
const mostAgain = 4

// errNoRun says why a push starts no run; nothing is wrong with it.
var errNoRun = errors.New("no run")

// request is what somebody wants to run.
type request struct {
	options core.RunOptions
	by      string
	from    string
	reason  string
	push    bool   // only when a trigger of the manifest wants it
	fork    string // whose commit it is; it does not begin by itself
	again   int
	// replaces is the job in whose place the run comes; 0: none.
	replaces uint64
	allowed  func(environment string) error
}

// enqueue puts a run into the queue, by the manifest of its commit.
func (s *Server) enqueue(ctx context.Context, v *served, r request) (Job, error) {
	o := r.options
	o.ID = core.RunID(core.NewID(time.Now()))
	file, err := v.commit(ctx, &o)
	if err != nil {
		return Job{}, err
	}
	with := v.options
	with.Environment = o.Environment
	p, err := project.Load(ctx, file, with)
	if err != nil {
		refused := v.refuse(ctx, filepath.Dir(file), o, err)
		s.report(Job{Pipeline: v.Name, Run: o}, core.Failed, "the manifest cannot be used")
		return Job{}, errors.Join(userError("the manifest of commit %.9s cannot be used; recorded as run %s: %w", o.Commit, o.ID.Short(), err), refused)
	}
	defer func() { _ = p.Files.Close() }()
	t := engine.Trigger(p.Pipeline, o)
	if r.push && t == nil && (o.Tag != "" || len(p.Triggers) > 0) {
		return Job{}, fmt.Errorf("%w: no trigger of %s names %s", errNoRun, filepath.Base(file), cmp.Or(o.Tag, o.Branch))
	}
	if t != nil {
		o.Environment = cmp.Or(o.Environment, t.Environment)
	}
	if r.allowed != nil {
		if err := r.allowed(o.Environment); err != nil {
			return Job{}, err
		}
	}
	j := Job{
		Pipeline: v.Name, Manifest: file, Run: o, By: r.by, Fork: r.fork, Reason: r.reason, Queued: time.Now(), Again: r.again,
		Away: s.workers != nil && v.Remote != "" && p.Store != nil, Labels: p.RunsOn,
	}
	if lacks := missing(j.Labels, ownLabels()); !j.Away && len(lacks) > 0 {
		return Job{}, userError("the pipeline runs on workers with the label %s; %s", strings.Join(lacks, ", "), workersRemedy)
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		var err error
		j.Number = tx.Bucket(queueBucket).Sequence() + 1
		if _, err = add(tx, queueBucket, j); err != nil {
			return err
		}
		if err = put(tx, queueBucket, sequence(r.replaces), nil); err != nil {
			return err
		}
		now := time.Now()
		a := Act{Number: tx.Bucket(auditBucket).Sequence() + 1, Time: now, Ended: now, By: r.by, From: r.from, Pipeline: v.Name, Place: o.Environment, Reason: r.reason, What: fmt.Sprintf("run %s of %s", o.ID.Short(), describe(o))}
		_, err = add(tx, auditBucket, a)
		return err
	})
	if err == nil && j.Fork != "" {
		s.report(j, core.Pending, "waits until a member lets it begin")
	} else if err == nil {
		s.report(j, core.Pending, "waits for its turn")
	}
	s.poke()
	return j, err
}

// describe names what a run is of.
func describe(o core.RunOptions) string {
	if where := cmp.Or(o.Tag, o.Branch); where != "" {
		return fmt.Sprintf("%.9s, %s", o.Commit, where)
	}
	return fmt.Sprintf("%.9s", o.Commit)
}

// poke lets the worker look at the queue.
func (s *Server) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// queue lists the jobs in their order.
func (s *Server) queue() (list []Job, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return each(tx, queueBucket, false, func(_ []byte, j Job) bool {
			list = append(list, j)
			return true
		})
	})
	return list, err
}

// job returns the job of a run.
func (s *Server) job(id core.RunID) (Job, bool, error) {
	list, err := s.queue()
	i := slices.IndexFunc(list, func(j Job) bool { return j.Run.ID == id })
	if i < 0 {
		return Job{}, false, err
	}
	return list[i], true, nil
}

func (s *Server) putJob(j Job) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return put(tx, queueBucket, sequence(j.Number), j) })
}

// Work starts what is in the queue until ctx ends. Runs that go on then are left to themselves, and found again by the next
// server, as those of a server that was killed are.
func (s *Server) Work(ctx context.Context) error {
	list, err := s.queue()
	if err != nil {
		return err
	}
	var beside sync.WaitGroup
	beside.Go(func() { s.tellForges(ctx) })
	beside.Go(func() { s.keepTime(ctx) })
	defer beside.Wait()
	for _, j := range list {
		switch {
		case j.Ticket != nil:
			go s.oversee(ctx, j)
		case !j.Started.IsZero():
			go s.await(ctx, j)
		}
	}
	for {
		var again <-chan time.Time
		if err := s.startReady(ctx); err != nil {
			s.o.Note("the queue: " + err.Error())
			again = time.After(retryPause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-again:
		}
	}
}

// retryPause is how long the queue rests after something could not be started.
const retryPause = 5 * time.Second

// startReady starts the jobs that nothing keeps waiting.
func (s *Server) startReady(ctx context.Context) error {
	list, err := s.queue()
	if err != nil {
		return err
	}
	going, busy := 0, map[string]bool{}
	for _, j := range list {
		if j.waits() || j.Fork != "" {
			continue
		}
		busy[j.place()] = true
		if !j.Away {
			going++
		}
	}
	for _, j := range list {
		if !j.waits() || j.Fork != "" || busy[j.place()] {
			continue
		}
		busy[j.place()] = true // those behind it wait for it
		begin := s.start
		switch {
		case j.Away:
			begin = s.offer
		case going >= s.o.Workers:
			continue
		default:
			going++
		}
		if err := begin(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// waits reports whether a job has neither begun nor been offered to workers.
func (j Job) waits() bool { return j.Started.IsZero() && j.Ticket == nil }

// start starts the process of a job.
func (s *Server) start(ctx context.Context, j Job) error {
	v, ok := s.pipelines[j.Pipeline]
	if !ok {
		return s.drop(ctx, j, fmt.Errorf("the pipeline %s is not served any more", j.Pipeline))
	}
	if _, err := os.Stat(j.Manifest); v.mirror != "" && err != nil { // it has waited for so long that its checkout is gone
		if j.Manifest, err = v.commit(ctx, &j.Run); err != nil {
			return s.drop(ctx, j, err)
		}
	}
	log, err := os.OpenFile(filepath.Join(s.o.Data, "runs.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := s.o.run(v, j.Manifest, j.Run, byServer(j.By))
	cmd.Stdout, cmd.Stderr = log, log
	j.Started = time.Now()
	if err := s.putJob(j); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(s.drop(ctx, j, err), fmt.Errorf("start %s: %w", s.o.Program, err))
	}
	j.PID = cmd.Process.Pid
	if err := s.putJob(j); err != nil {
		return err
	}
	s.report(j, core.Running, "runs")
	go func() {
		_ = cmd.Wait() // the record says how it ended
		s.end(ctx, j)
	}()
	return nil
}

// run is the command of a run by the manifest in a file.
func (o Options) run(v *served, file string, run core.RunOptions, by string) *exec.Cmd {
	args := append(project.RunArguments(file, run, v.options), o.arguments()...)
	cmd := exec.Command(o.Program, args...) //nolint:noctx // it outlives this process
	cmd.Dir, cmd.Env = filepath.Dir(file), actingFor(by)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// awaitPause is how often a run that a former server started is looked at.
const awaitPause = time.Second

// unseen is how long a run that was started may have no record yet.
const unseen = 30 * time.Second

// await waits for the end of a run that a former server started.
func (s *Server) await(ctx context.Context, j Job) {
	for {
		v, ok := s.pipelines[j.Pipeline]
		if !ok {
			break
		}
		p, err := v.read(ctx)
		if err != nil {
			break
		}
		r, err := p.Files.Run(ctx, j.Run.ID)
		if err == nil && r.Status != core.Running {
			break
		}
		if unrecorded(err) && time.Since(j.Started) > unseen && !alive(j.PID) {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(awaitPause):
		}
	}
	s.end(ctx, j)
}

// unrecorded reports whether a run has no record, or none yet: its process begins.
func unrecorded(err error) bool {
	return errors.As(err, new(*core.NotFoundError)) || errors.Is(err, fs.ErrNotExist)
}

// alive reports whether a process exists. It is asked only where a wrong yes means to wait.
func alive(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == nil }

// end takes a job whose process is gone out of the queue. A run that was interrupted, though nobody cancelled it, is begun
// again: it goes on where that one stopped, since what passed for the same inputs is not repeated.
func (s *Server) end(ctx context.Context, j Job) {
	if s.ctx.Err() != nil {
		return // the next server finds it
	}
	if err := s.ended(ctx, j); err != nil {
		s.o.Note(fmt.Sprintf("run %s: %v", j.Run.ID.Short(), err))
	}
	s.poke()
}

func (s *Server) ended(ctx context.Context, j Job) error {
	now, ok, err := s.job(j.Run.ID)
	if err != nil || !ok {
		return err
	}
	again, err := s.interrupted(ctx, now)
	if again && err == nil {
		return s.again(ctx, now)
	}
	return errors.Join(err, s.over(ctx, now))
}

// over takes a job out of the queue whose run has ended.
func (s *Server) over(ctx context.Context, j Job) error {
	s.reportEnd(ctx, j)
	return s.takeOut(j)
}

// again puts another run into the place of one that was interrupted, if it may.
func (s *Server) again(ctx context.Context, j Job) error {
	v, ok := s.pipelines[j.Pipeline]
	if !ok || j.Ends || j.Again >= mostAgain {
		return s.over(ctx, j)
	}
	_, err := s.enqueue(ctx, v, request{
		options: j.Run, by: j.By, again: j.Again + 1, replaces: j.Number, reason: fmt.Sprintf("run %s was interrupted", j.Run.ID.Short()),
	})
	if err == nil || s.ctx.Err() != nil {
		return err // at its end, the server leaves the job to the next one
	}
	return errors.Join(err, s.over(ctx, j))
}

// takeOut takes a job out of the queue.
func (s *Server) takeOut(j Job) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return put(tx, queueBucket, sequence(j.Number), nil) })
}

// interrupted reports whether a run whose process is gone was interrupted.
func (s *Server) interrupted(ctx context.Context, j Job) (bool, error) {
	v, ok := s.pipelines[j.Pipeline]
	if !ok {
		return false, nil
	}
	p, err := v.read(ctx)
	if err != nil {
		return false, err
	}
	r, err := p.Files.Run(ctx, j.Run.ID)
	if unrecorded(err) {
		return true, nil
	}
	return r.Status == core.Cancelled && r.Ended.IsZero(), err
}

// drop takes a job that cannot be started out of the queue, and records why.
func (s *Server) drop(ctx context.Context, j Job, reason error) error {
	s.report(j, core.Cancelled, reason.Error())
	err := s.takeOut(j)
	if v, ok := s.pipelines[j.Pipeline]; ok {
		err = errors.Join(err, v.refuse(ctx, filepath.Dir(j.Manifest), j.Run, reason))
	}
	return err
}

// refuse records a run that could not begin where the pipeline's runs are.
func (v *served) refuse(ctx context.Context, dir string, o core.RunOptions, reason error) error {
	ctx = context.WithoutCancel(ctx)
	if p, err := v.read(ctx); err == nil && p.Files.Shared() {
		return p.Refuse(ctx, o, reason)
	}
	return project.Refuse(ctx, dir, o, v.options, reason)
}

// cancel ends a run: one that waits is taken out of the queue, one that goes on is interrupted as by Ctrl-C.
func (s *Server) cancel(ctx context.Context, v *served, id core.RunID, by string) error {
	j, ok, err := s.job(id)
	if err != nil {
		return err
	}
	if !ok {
		return userError("run %s does not wait or go on here; who started it elsewhere ends it there", id.Short())
	}
	if j.Away {
		return s.recall(ctx, j, by)
	}
	if j.Started.IsZero() {
		return s.drop(ctx, j, fmt.Errorf("%s cancelled it while it waited", by))
	}
	p, err := v.read(ctx)
	if err != nil {
		return err
	}
	j.Ends = true
	if err := s.putJob(j); err != nil {
		return err
	}
	// The record tells the run's process from another one that has its number now.
	r, err := p.Files.Run(ctx, id)
	if err != nil || r.Status != core.Running || r.PID != j.PID {
		return userError("run %s is about to begin or has ended; look again", id.Short())
	}
	return syscall.Kill(j.PID, syscall.SIGINT)
}

// admit lets the run of a fork begin.
func (s *Server) admit(ctx context.Context, v *served, id core.RunID) (Job, error) {
	j, ok, err := s.job(id)
	if err != nil {
		return j, err
	}
	if !ok || j.Fork == "" {
		return j, userError("run %s does not wait for somebody to let it begin", id.Short())
	}
	c, fork := callerOf(ctx), j.Fork
	if err := allowed(c, v.Name)(j.Run.Environment); err != nil {
		return j, err
	}
	now := time.Now()
	if _, err := s.record(Act{Time: now, Ended: now, By: c.Name, From: from(ctx), Pipeline: v.Name, Place: j.Run.Environment, What: "let run " + id.Short() + " of " + fork + " begin"}); err != nil {
		return j, err
	}
	j.Fork = ""
	if err := s.putJob(j); err != nil {
		return j, err
	}
	s.report(j, core.Pending, "waits for its turn")
	s.poke()
	return j, nil
}

// replaced takes the earlier runs of a pull request out that nobody has let begin.
func (s *Server) replaced(ctx context.Context, pipeline, branch string) error {
	list, err := s.queue()
	for _, j := range list {
		if j.Pipeline == pipeline && j.Run.Branch == branch && j.Fork != "" {
			err = errors.Join(err, s.drop(ctx, j, errors.New("a newer commit was pushed")))
		}
	}
	return err
}

// waitsFor says what keeps a job waiting.
func (s *Server) waitsFor(list []Job, j Job) string {
	if j.Fork != "" {
		return "waits until somebody lets it begin: it is of the fork " + j.Fork + ", and would run its commands here"
	}
	var before []string
	going := 0
	for _, other := range list {
		if !other.Started.IsZero() && !other.Away {
			going++
		}
		if other.Number < j.Number && other.place() == j.place() && other.Fork == "" {
			before = append(before, other.Run.ID.Short())
		}
	}
	switch {
	case len(before) > 0:
		return "waits for run " + strings.Join(before, ", ") + " in the same environment"
	case j.Away && len(j.Labels) > 0:
		return "waits for a worker with the label " + strings.Join(j.Labels, ", ")
	case j.Away:
		return "waits for a worker"
	case going >= s.o.Workers:
		return fmt.Sprintf("waits for one of %d workers", s.o.Workers)
	}
	return "begins"
}
