package server

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ui"
)

// feed is a run as it goes on, for all who watch it: it is read and drawn once, and each watcher sends what it has not sent
// yet. A slow watcher slows nobody, and costs no memory: it skips to the newest drawing.
type feed struct {
	mu       sync.Mutex
	watchers int
	drawn    chan struct{} // closed when there is a new drawing, and at the end
	logged   chan struct{} // closed when there is a new line, and at the end
	parts    []byte        // the newest drawing of the parts
	drawing  int           // its number
	lines    []logLine
	dropped  int // lines before those
	ended    bool
	err      error
	stop     context.CancelFunc
}

// logLine is a line of the log of a source.
type logLine struct {
	source string
	number int // in its source, from 1
	text   string
	class  string
}

const (
	// drawPause is the least time between two drawings of a run.
	drawPause = 150 * time.Millisecond
	// mostLines is how many lines of a run are kept for those who watch it.
	mostLines = 5000
)

// watch returns the feed of a run, which the caller leaves.
func (s *Server) watch(v *served, id core.RunID) *feed {
	s.feedsMu.Lock()
	defer s.feedsMu.Unlock()
	f, ok := s.feeds[id]
	if !ok {
		ctx, stop := context.WithCancel(s.ctx)
		f = &feed{drawn: make(chan struct{}), logged: make(chan struct{}), stop: stop}
		s.feeds[id] = f
		go s.follow(ctx, v, id, f)
	}
	f.mu.Lock()
	f.watchers++
	f.mu.Unlock()
	return f
}

// leave ends a watch; the last one to leave ends the feed.
func (s *Server) leave(id core.RunID, f *feed) {
	s.feedsMu.Lock()
	defer s.feedsMu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers--; f.watchers == 0 {
		f.stop()
		delete(s.feeds, id)
	}
}

// follow reads a run to its end, and draws it for the watchers.
func (s *Server) follow(ctx context.Context, v *served, id core.RunID, f *feed) {
	err := s.followRun(ctx, v, id, f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.err = true, err
	tell(&f.drawn)
	tell(&f.logged)
}

// tell wakes those who wait for a channel to be closed. The caller holds the lock.
func tell(c *chan struct{}) {
	close(*c)
	*c = make(chan struct{})
}

func (s *Server) followRun(ctx context.Context, v *served, id core.RunID, f *feed) error {
	p, err := v.read(ctx)
	if err != nil {
		return err
	}
	r, err := p.Files.Run(ctx, id)
	for unrecorded(err) && s.queued(id) { // it waits in the queue, or is about to begin
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(drawPause):
		}
		r, err = p.Files.Run(ctx, id)
	}
	if err != nil {
		return err
	}
	var mu sync.Mutex // of view, which the events change and the clock draws
	view := newRunView(v.Name, p.Pipeline, r)
	view.source = v.source(ctx, p, r.Commit)
	draw := func() error {
		mu.Lock()
		defer mu.Unlock()
		if !view.visible {
			return nil
		}
		view.visible = false
		var b bytes.Buffer
		if err := s.pages.ExecuteTemplate(&b, "parts", view.Settled()); err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.parts = b.Bytes()
		f.drawing++
		tell(&f.drawn)
		return nil
	}
	ticking, stop := context.WithCancel(ctx)
	var drawing sync.WaitGroup
	drawing.Go(func() {
		for {
			select {
			case <-ticking.Done():
				return
			case <-time.After(drawPause):
				if draw() != nil {
					return
				}
			}
		}
	})
	numbers := map[string]int{}
	for e, err := range p.Files.Follow(ctx, id) {
		if err != nil {
			stop()
			drawing.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		mu.Lock()
		view.take(e)
		mu.Unlock()
		if l, ok := lineOf(e, numbers); ok {
			f.mu.Lock()
			f.lines = append(f.lines, l)
			if over := len(f.lines) - mostLines; over > mostLines/10 {
				f.lines = append([]logLine(nil), f.lines[over:]...)
				f.dropped += over
			}
			tell(&f.logged)
			f.mu.Unlock()
		}
	}
	stop()
	drawing.Wait()
	view.visible = true
	if r, err = p.Files.Run(ctx, id); err == nil {
		view.Run = r
	}
	return draw()
}

// Settled is the run as it is drawn.
func (v *runView) Settled() *runView {
	v.settle()
	return v
}

// lineOf is an event as a line of the log of its source.
func lineOf(e core.Event, numbers map[string]int) (logLine, bool) {
	if e.Kind == core.KindProgress || e.Kind == core.KindTable {
		return logLine{}, false
	}
	numbers[e.Source]++
	l := logLine{source: e.Source, number: numbers[e.Source], text: ui.Sentence(e)}
	switch {
	case e.Severity == core.Warning, e.Severity == core.Alert:
		l.class = "warning"
	case e.Kind != core.KindLog && e.Kind != core.KindTask:
		l.class = "engine"
	}
	return l, true
}

// queued reports whether a run is in the queue.
func (s *Server) queued(id core.RunID) bool {
	_, ok, err := s.job(id)
	return ok && err == nil
}
