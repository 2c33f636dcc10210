package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/queue"
)

// WorkerHelp is the long description of troop worker.
const WorkerHelp = `Worker takes runs from a troop serve on another machine and carries them out on this one. Both find each other through a
Redis, whose address is in ` + queueVariable + `, such as rediss://troop:PASSWORD@queue.example.com:6379.

A worker takes runs of the pipelines that it names, and of no others: git remotes whose manifests have a store block. It needs
what a CI job needs: to read the remote, the store, and ` + "TROOP_IDENTITY" + ` to open its vault. It takes runs of pipelines with
runs_on = ["arm64"] when it has that label; its operating system, its architecture and its name are labels already.

A signal lets it take nothing more, and it ends when its runs have. A second one ends it at once: its runs go on, and the
server follows them by their records. A run whose machine is not heard of is begun again on another worker, after what has
passed; should the machine come back, that run can record nothing and change no host.`

// WorkerOptions say what a worker takes. Of Options it needs those of pipelines and programs.
type WorkerOptions struct {
	Options
	Name    string
	Labels  []string
	Slots   int
	Version string
}

// AddFlags adds the options as flags of a command.
func (o *WorkerOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Name, "name", "", "`name` of the worker; default: that of this machine")
	f.StringSliceVar(&o.Labels, "label", nil, "`label` that runs_on may ask for")
	f.IntVar(&o.Slots, "slots", 1, "`number` of runs at the same time")
	f.StringVar(&o.Data, "data", "", "`folder` of the worker's own files; default: troop/worker-NAME in the user's state folder")
}

// worker carries out runs that a server offers.
type worker struct {
	o         WorkerOptions
	queue     *queue.Queue
	pipelines map[string]*served

	mu sync.Mutex
	me queue.Worker
}

const (
	beatPause   = queue.Present / 3 // between two words of a worker
	lookPause   = time.Second       // between two looks for work, when nobody tells of any
	endPatience = time.Minute       // for a Redis that is away, to say that a run is over
)

// RunWorker takes runs until ctx ends, and returns when they have ended.
func RunWorker(ctx context.Context, o WorkerOptions) error {
	w, err := openWorker(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	w.o.Note(fmt.Sprintf("worker %s takes runs of %s, with the labels %s; Ctrl-C lets it end with them", w.me.Name, strings.Join(w.me.Pipelines, ", "), strings.Join(w.me.Labels, ", ")))
	w.work(ctx)
	return nil
}

func openWorker(ctx context.Context, o WorkerOptions) (*worker, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	if o.Name = cmp.Or(o.Name, strings.ToLower(host)); !core.IsLabel(o.Name) {
		return nil, userError("--name %q: write small letters, digits, dots, - and _", o.Name)
	}
	for _, l := range o.Labels {
		if !core.IsLabel(l) {
			return nil, userError("--label %q: write small letters, digits, dots, - and _", l)
		}
	}
	if o.Slots < 1 {
		return nil, userError("--slots %d: a worker takes one run or more at a time", o.Slots)
	}
	if len(o.Pipelines) == 0 {
		return nil, userError("name the git remotes whose runs this worker takes")
	}
	if o.Queue = cmp.Or(o.Queue, os.Getenv(queueVariable)); o.Queue == "" {
		return nil, userError("%s is not set; it is the address of the server's Redis: redis://USER:PASSWORD@HOST:6379", queueVariable)
	}
	if o.Data == "" {
		if o.Data, err = stateFolder("worker-" + o.Name); err != nil {
			return nil, err
		}
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	w := &worker{o: o, pipelines: map[string]*served{}, me: queue.Worker{
		Name: o.Name, Machine: host, Version: o.Version, Slots: o.Slots, Since: time.Now(),
		Labels: slices.Compact(slices.Sorted(slices.Values(append(ownLabels(), o.Labels...)))),
	}}
	if err := w.open(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *worker) open(ctx context.Context) (err error) {
	if w.queue, err = queue.Open(ctx, w.o.Queue); err != nil {
		return err
	}
	for _, name := range w.o.Pipelines {
		v, err := serve(ctx, name, w.o.Data, w.o.Project)
		if err != nil {
			return err
		}
		w.pipelines[v.Name] = v
		w.me.Pipelines = append(w.me.Pipelines, v.Name)
		p, err := v.read(ctx)
		if err != nil {
			return err
		}
		if v.Remote == "" || p.Store == nil {
			return userError("%s: a worker takes runs of a git remote whose manifest has a store block, so that the server sees them", name)
		}
	}
	return nil
}

func (w *worker) close() {
	if w.queue != nil {
		_ = w.queue.Close()
	}
	for _, v := range w.pipelines {
		_ = v.close()
	}
}

// work takes runs until ctx ends, and waits for their end.
func (w *worker) work(ctx context.Context) {
	lives, leave := context.WithCancel(context.WithoutCancel(ctx))
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		w.beat(ctx, lives)
	}()
	var slots sync.WaitGroup
	for range w.o.Slots {
		slots.Go(func() { w.slot(ctx) })
	}
	slots.Wait()
	leave()
	<-beating
}

// beat says that the worker is there until it is not.
func (w *worker) beat(drains, lives context.Context) {
	for {
		w.mu.Lock()
		w.me.Drains = drains.Err() != nil
		me := w.me
		me.Runs = slices.Clone(me.Runs)
		w.mu.Unlock()
		_ = w.queue.Beat(lives, me) // the next one tells, too
		select {
		case <-lives.Done():
			gone, cancel := context.WithTimeout(context.WithoutCancel(lives), time.Second)
			defer cancel()
			_ = w.queue.Leave(gone, me.Name) // else it is forgotten a little later
			return
		case <-time.After(beatPause):
		}
	}
}

// slot carries out one run after the other.
func (w *worker) slot(ctx context.Context) {
	news := w.queue.News(ctx)
	w.mu.Lock()
	me := w.me
	w.mu.Unlock()
	told := ""
	for ctx.Err() == nil {
		var work offered
		t, ok, err := w.queue.Take(ctx, me.Name, me.Fits, &work)
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			w.o.Note(told)
		}
		if ok {
			told = ""
			w.carryOut(ctx, t, work, err) //nolint:contextcheck // it goes on when ctx ends
			continue
		}
		select {
		case <-ctx.Done():
		case <-news:
		case <-time.After(lookPause):
		}
	}
}

// carryOut carries a run out and says that it is over. It goes on when ctx ends.
func (w *worker) carryOut(ctx context.Context, t queue.Ticket, work offered, problem error) {
	ctx = context.WithoutCancel(ctx)
	w.mu.Lock()
	w.me.Runs = append(w.me.Runs, work.Run.ID)
	w.mu.Unlock()
	if problem == nil {
		w.o.Note(fmt.Sprintf("run %s of %s, %s", work.Run.ID.Short(), t.Lane.Pipeline, describe(work.Run)))
		problem = w.run(ctx, t, work)
	}
	w.mu.Lock()
	w.me.Runs = slices.DeleteFunc(w.me.Runs, func(id core.RunID) bool { return id == work.Run.ID })
	w.mu.Unlock()
	said := ""
	if problem != nil {
		said = problem.Error()
		w.o.Note(fmt.Sprintf("run %s could not begin: %s", work.Run.ID.Short(), said))
	}
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	for w.queue.End(ctx, w.me.Name, t, said) != nil && ctx.Err() == nil { // the server sees the run's record, too
		time.Sleep(lookPause)
	}
}

// run is a run from its commit to its end. The error is why it could not begin.
func (w *worker) run(ctx context.Context, t queue.Ticket, work offered) error {
	v := w.pipelines[t.Lane.Pipeline]
	if err := v.update(ctx); err != nil {
		return err
	}
	o := work.Run
	file, err := v.commit(ctx, &o)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(w.o.Data, "runs.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := w.o.run(v, file, o, byServer(work.By))
	said, err := os.CreateTemp(w.o.Data, "run-*.log")
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(said.Close(), os.Remove(said.Name())) }()
	cmd.Stdout, cmd.Stderr = log, said
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its record and its exit status say how it ended
	}()
	w.keep(ctx, t, cmd.Process.Pid, ended)
	if cmd.ProcessState.ExitCode() != badInput {
		return nil // its record says how it ended
	}
	text, err := os.ReadFile(said.Name())
	return errors.Join(errors.New(lastOf(text)), err)
}

// badInput is the exit status of a troop run that could not begin.
const badInput = 2

// lastOf is the end of what a command has said.
func lastOf(text []byte) string {
	const most = 2000
	text = bytes.TrimSpace(text)
	return string(text[max(0, len(text)-most):])
}

// keep says that the worker is at work on a run until that has ended, and ends it when it is told to.
func (w *worker) keep(ctx context.Context, t queue.Ticket, pid int, ended <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := w.queue.News(ctx)
	asked := false
	for {
		order, err := w.queue.Keep(ctx, w.me.Name, t)
		if err == nil && order != queue.GoOn && !asked {
			asked = syscall.Kill(pid, syscall.SIGINT) == nil // as Ctrl-C does
		}
		select {
		case <-ended:
			return
		case <-news:
		case <-time.After(beatPause):
		}
	}
}
