package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/notify"
	"github.com/seed-b96de936/troop/core/project"
	"github.com/seed-b96de936/troop/core/queue"
	"github.com/seed-b96de936/troop/core/store"
)

// page is what every page is drawn from.
type page struct {
	Title  string
	Caller caller
	Trail  []link // from the first page to this one
	Body   any
	Said   string // what became of what the user has just done
}

type link struct{ Text, Href string }

// render answers with a page.
func (s *Server) render(w http.ResponseWriter, r *http.Request, name string, p page) error {
	p.Caller = callerOf(r.Context())
	if p.Caller.Name == "" {
		p.Caller, _ = s.identify(r) // an error page is drawn outside of a route, too
	}
	p.Said = cmp.Or(p.Said, r.URL.Query().Get("said"))
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, p); err != nil {
		return fmt.Errorf("draw the page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = b.WriteTo(w) // a browser that is gone has no reader to tell
	return nil
}

// of is the pipeline of a request, which its route has checked.
func (s *Server) of(r *http.Request) *served { return s.pipelines[r.PathValue("pipeline")] }

// overview is a pipeline on the first page.
type overview struct {
	*served
	Runs         []core.Run
	Environments []string
	Problem      string
}

// fewRuns is how many runs of a pipeline the first page shows, and manyRuns its own page.
const fewRuns, manyRuns = 6, 50

func (s *Server) homePage(w http.ResponseWriter, r *http.Request) error {
	var list []overview
	for _, name := range s.names {
		if !callerOf(r.Context()).anywhere(name).atLeast(Viewer) {
			continue
		}
		o, err := s.overview(r.Context(), s.pipelines[name], store.Filter{Pipeline: name, Limit: fewRuns})
		if err != nil {
			return err
		}
		list = append(list, o)
	}
	return s.render(w, r, "home", page{Title: "Pipelines", Body: list})
}

func (s *Server) overview(ctx context.Context, v *served, f store.Filter) (overview, error) {
	o := overview{served: v, Problem: v.Problem()}
	p, err := v.read(ctx)
	if err != nil {
		return o, err
	}
	o.Runs, err = p.Files.Runs(ctx, f)
	for _, e := range p.Environments {
		if callerOf(ctx).in(v.Name, e.Name).atLeast(Viewer) {
			o.Environments = append(o.Environments, e.Name)
		}
	}
	return o, err
}

func (s *Server) pipelinePage(w http.ResponseWriter, r *http.Request) error {
	v, q := s.of(r), r.URL.Query()
	f := store.Filter{Pipeline: v.Name, Branch: q.Get("branch"), Environment: q.Get("environment"), Limit: manyRuns}
	if status := q.Get("status"); status != "" {
		f.Statuses = []core.Status{core.Status(status)}
	}
	o, err := s.overview(r.Context(), v, f)
	if err != nil {
		return err
	}
	queue, err := s.queueOf(r.Context(), v.Name)
	if err != nil {
		return err
	}
	body := struct {
		overview
		Filter store.Filter
		Status string
		Queue  []waiting
		May    bool

		Schedules []planned
	}{o, f, q.Get("status"), queue, callerOf(r.Context()).anywhere(v.Name).atLeast(Operator), nil}
	if p, err := v.read(r.Context()); err == nil {
		if body.Schedules, err = s.planned(v, p.Schedules); err != nil {
			return err
		}
	}
	return s.render(w, r, "pipeline", page{Title: v.Name, Body: body})
}

// find returns the run that a request is about.
func (s *Server) find(ctx context.Context, v *served, id string) (*project.Project, core.RunID, error) {
	p, err := v.read(ctx)
	if err != nil {
		return nil, "", err
	}
	if s.queued(core.RunID(id)) {
		return p, core.RunID(id), nil
	}
	r, err := p.Files.Find(ctx, id)
	return p, r.ID, err
}

func (s *Server) runPage(w http.ResponseWriter, r *http.Request) error {
	ctx, v := r.Context(), s.of(r)
	p, id, err := s.find(ctx, v, r.PathValue("run"))
	if err != nil {
		return err
	}
	view, err := v.view(ctx, id)
	if err == nil {
		view.source = v.source(ctx, p, view.Run.Commit)
	}
	job, queued, jobErr := s.job(id)
	if queued && unrecorded(err) {
		view = newRunView(v.Name, p.Pipeline, core.Run{
			ID: id, Pipeline: v.Name, Commit: job.Run.Commit, Subject: job.Run.Subject, Branch: job.Run.Branch, Tag: job.Run.Tag,
			Environment: job.Run.Environment, Status: core.Pending, Started: job.Queued,
		})
		err = nil
	}
	if err = cmp.Or(err, jobErr); err != nil {
		return err
	}
	role := callerOf(ctx).in(v.Name, view.Run.Environment)
	body := struct {
		*runView
		Waits, By, Reason string
		MayCancel, May    bool
		Fork              string
		Before            core.RunID
	}{runView: view, By: job.By, Reason: job.Reason, Fork: job.Fork, MayCancel: queued && view.Run.Ended.IsZero() && role.atLeast(Operator), May: role.atLeast(Operator)}
	if queued && job.Started.IsZero() {
		list, err := s.queue()
		if err != nil {
			return err
		}
		body.Waits = s.waitsFor(list, job)
	}
	runs, err := p.Files.Runs(ctx, store.Filter{Pipeline: v.Name, Environment: view.Run.Environment, Branch: view.Run.Branch, Limit: manyRuns})
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(runs, func(x core.Run) bool { return x.ID == id }); i >= 0 && i+1 < len(runs) {
		body.Before = runs[i+1].ID
	}
	return s.render(w, r, "run", page{Title: "run " + id.Short(), Trail: trail(v.Name), Body: body})
}

func trail(pipeline string) []link { return []link{{pipeline, "/p/" + url.PathEscape(pipeline)}} }

// stream is a page's connection for what is new.
type stream struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// streamTime is how long a part of a stream may take to be sent. A reader that takes longer is cut off, and comes again.
const streamTime = 20 * time.Second

func openStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep it back
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // nothing more is read
	return &stream{w, c}
}

// send sends one event of the stream, whose lines are each a field of data.
func (s *stream) send(kind string, data []byte) error {
	_ = s.c.SetWriteDeadline(time.Now().Add(streamTime))
	var b bytes.Buffer
	b.WriteString("event: " + kind + "\n")
	for line := range bytes.SplitSeq(bytes.TrimRight(data, "\n"), []byte("\n")) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	if _, err := b.WriteTo(s.w); err != nil {
		return err
	}
	return s.c.Flush()
}

// beat is how often a stream that has nothing to say shows that it is there, so that no proxy ends it.
const beat = 15 * time.Second

// runLive streams the parts of a run, each time they change.
func (s *Server) runLive(w http.ResponseWriter, r *http.Request) error {
	_, id, err := s.find(r.Context(), s.of(r), r.PathValue("run"))
	if err != nil {
		return err
	}
	f := s.watch(s.of(r), id) //nolint:contextcheck // others watch it, too
	defer s.leave(id, f)
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	out, sent := openStream(w), 0
	for {
		f.mu.Lock()
		parts, drawing, ended, changed := f.parts, f.drawing, f.ended, f.drawn
		f.mu.Unlock()
		if drawing != sent {
			if out.send("parts", parts) != nil {
				return nil // the reader is gone
			}
			sent = drawing
			continue
		}
		if ended {
			_ = out.send("end", nil)
			return nil
		}
		if !out.wait(r.Context(), changed) {
			return nil
		}
	}
}

// wait waits until a channel is closed, and keeps the stream alive meanwhile; false: the reader is gone.
func (s *stream) wait(ctx context.Context, changed <-chan struct{}) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			return true
		case <-time.After(beat):
			if s.send("beat", nil) != nil {
				return false
			}
		}
	}
}

// logPage is the whole log of a source.
func (s *Server) logPage(w http.ResponseWriter, r *http.Request) error {
	ctx, v, source := r.Context(), s.of(r), r.PathValue("source")
	p, id, err := s.find(ctx, v, r.PathValue("run"))
	if err != nil {
		return err
	}
	run, err := p.Files.Run(ctx, id)
	if unrecorded(err) {
		err = &core.NotFoundError{What: "log", Name: source, Remedy: "the run has not begun"}
	}
	if err != nil {
		return err
	}
	var lines []logLine
	numbers := map[string]int{}
	for e, err := range p.Files.Events(ctx, id) {
		if err != nil && run.Status == core.Damaged {
			break
		}
		if err != nil {
			return err
		}
		if l, ok := lineOf(e, numbers); ok && l.source == source {
			lines = append(lines, l)
		}
	}
	body := struct {
		Run    core.Run
		Source string
		Lines  []logLine
		Live   string
	}{run, source, lines, ""}
	if run.Status == core.Running {
		body.Live = fmt.Sprintf("/p/%s/runs/%s/log/%s/live?after=%d", url.PathEscape(v.Name), id, url.PathEscape(source), len(lines))
	}
	t := append(trail(v.Name), link{"run " + id.Short(), "/p/" + url.PathEscape(v.Name) + "/runs/" + string(id)})
	return s.render(w, r, "log", page{Title: source, Trail: t, Body: body})
}

// The methods of logLine are for the templates.

// Number is the line's place in the log of its source, from 1.
func (l logLine) Number() int { return l.number }

// Text is the line as people read it.
func (l logLine) Text() string { return l.text }

// Class is the line's kind in the style sheet.
func (l logLine) Class() string { return l.class }

// logLive streams the lines of a source that are new.
func (s *Server) logLive(w http.ResponseWriter, r *http.Request) error {
	_, id, err := s.find(r.Context(), s.of(r), r.PathValue("run"))
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")))
	source := r.PathValue("source")
	f := s.watch(s.of(r), id) //nolint:contextcheck // others watch it, too
	defer s.leave(id, f)
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	out, at := openStream(w), 0
	for {
		f.mu.Lock()
		at = max(at, f.dropped)
		fresh, ended, changed := f.lines[at-f.dropped:], f.ended, f.logged
		f.mu.Unlock()
		at += len(fresh)
		var b bytes.Buffer
		for _, l := range fresh {
			if l.source == source && l.number > after {
				if err := s.pages.ExecuteTemplate(&b, "line", l); err != nil {
					return err
				}
			}
		}
		if b.Len() > 0 && out.send("lines", b.Bytes()) != nil {
			return nil
		}
		if ended {
			_ = out.send("end", nil)
			return nil
		}
		if !out.wait(r.Context(), changed) {
			return nil
		}
	}
}

// comparePage puts two runs beside each other.
func (s *Server) comparePage(w http.ResponseWriter, r *http.Request) error {
	ctx, v := r.Context(), s.of(r)
	var views [2]*runView
	for i, id := range []string{r.PathValue("other"), r.PathValue("run")} {
		_, full, err := s.find(ctx, v, id)
		if err != nil {
			return err
		}
		if views[i], err = v.view(ctx, full); err != nil {
			return err
		}
	}
	type row struct{ A, B *part }
	type figures struct {
		Source, Name string
		A, B         *figure
	}
	body := struct {
		A, B    *runView
		Rows    []row
		Figures []figures
	}{A: views[0], B: views[1]}
	for _, b := range views[1].Parts {
		a := views[0].bySrc[b.Source]
		body.Rows = append(body.Rows, row{a, b})
		for _, f := range b.Figures {
			x := figures{Source: b.Source, Name: f.Name, B: f}
			if a != nil {
				if i := slices.IndexFunc(a.Figures, func(g *figure) bool { return g.Name == f.Name }); i >= 0 {
					x.A = a.Figures[i]
				}
			}
			body.Figures = append(body.Figures, x)
		}
	}
	return s.render(w, r, "compare", page{Title: "compare " + views[0].Run.ID.Short() + " with " + views[1].Run.ID.Short(), Trail: trail(v.Name), Body: body})
}

// environmentPage is one environment: its frame. Its panels are asked for one by one, since each takes its own time.
func (s *Server) environmentPage(w http.ResponseWriter, r *http.Request) error {
	ctx, v, name := r.Context(), s.of(r), r.PathValue("environment")
	p, err := v.read(ctx)
	if err != nil {
		return err
	}
	conf, err := p.Environment(name)
	if err != nil {
		return err
	}
	actions, err := v.actions(ctx)
	if err != nil {
		return err
	}
	runs, err := p.Files.Runs(ctx, store.Filter{Pipeline: v.Name, Environment: name, Limit: fewRuns})
	if err != nil {
		return err
	}
	role := callerOf(ctx).in(v.Name, name)
	body := struct {
		Pipeline, Name string
		Panels         []panelLink
		Actions        []action
		May            bool
		Made           bool // by Terraform
		Stands         bool // it has hosts
		Runs           []core.Run
	}{Pipeline: v.Name, Name: name, May: role.atLeast(Operator), Made: conf.Terraform != nil, Runs: runs}
	e, err := v.environment(ctx, name)
	if err != nil {
		return err
	}
	switch _, err := e.Hosts(); {
	case err == nil:
		body.Stands = true
	case !errors.As(err, new(*core.NotFoundError)):
		return err
	}
	for _, a := range actions {
		if !a.ReadOnly {
			body.Actions = append(body.Actions, a)
			continue
		}
		if a.Name == "status" {
			body.Panels = append(body.Panels, panelLink{a.Type, a.Type + "." + a.Name, 5})
		}
	}
	body.Panels = append(body.Panels, panelLink{"hosts", "hosts", 30}, panelLink{"flags", "flags", 5}, panelLink{"alerts", "alerts", 5}, panelLink{"events", "events", 5})
	return s.render(w, r, "environment", page{Title: name, Trail: trail(v.Name), Body: body})
}

// panelLink is a panel of an environment's page: its title, its name in the path, and how often it is drawn, in seconds.
type panelLink struct {
	Title, Name string
	Every       int
}

// panelTime is how long a panel may take.
const panelTime = 20 * time.Second

// panel is one panel of an environment.
func (s *Server) panel(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), panelTime)
	defer cancel()
	name := r.PathValue("panel")
	body, err := s.panelBody(ctx, s.of(r), r.PathValue("environment"), name)
	if err != nil {
		body = err // of an environment that does not stand yet, too
	}
	kind, _, action := strings.Cut(name, ".")
	if err != nil {
		kind = "trouble"
	} else if action {
		kind = "action"
	}
	var b bytes.Buffer
	data := struct {
		Pipeline, Environment string
		May                   bool
		Body                  any
	}{s.of(r).Name, r.PathValue("environment"), callerOf(ctx).in(s.of(r).Name, r.PathValue("environment")).atLeast(Operator), body}
	if err := s.pages.ExecuteTemplate(&b, "panel-"+kind, data); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = b.WriteTo(w)
	return nil
}

func (s *Server) panelBody(ctx context.Context, v *served, env, name string) (any, error) {
	if typ, act, ok := strings.Cut(name, "."); ok {
		a, err := v.action(ctx, typ, act)
		if err != nil {
			return nil, err
		}
		if !a.ReadOnly {
			return nil, &core.NotFoundError{What: "panel", Name: name}
		}
		return s.look(ctx, v, env, a)
	}
	e, err := v.environment(ctx, env)
	if err != nil {
		return nil, err
	}
	return readPanel(ctx, e, name)
}

func readPanel(ctx context.Context, e *environment.Environment, name string) (any, error) {
	switch name {
	case "hosts":
		return e.Hosts()
	case "flags":
		return flagsOf(ctx, e)
	case "alerts", "events":
	default:
		return nil, &core.NotFoundError{What: "panel", Name: name}
	}
	if _, err := e.Hosts(); err != nil {
		return nil, err
	}
	b, err := e.Bus()
	if err != nil {
		return nil, err
	}
	if name == "alerts" {
		entries, err := b.Relay().Entries(ctx, "")
		return notify.Read(entries), err
	}
	events, err := b.Events(ctx, core.EventFilter{Since: time.Now().Add(-24 * time.Hour)}, manyRuns)
	slices.Reverse(events)
	return events, err
}

// flagsOf lists the flags of an environment with the newest changes.
func flagsOf(ctx context.Context, e *environment.Environment) (any, error) {
	if _, err := e.Hosts(); err != nil {
		return nil, err
	}
	f, err := e.Flags()
	if err != nil {
		return nil, err
	}
	list, err := f.List(ctx)
	if err != nil {
		return nil, err
	}
	audit, err := f.Audit(ctx, 20)
	return struct{ Flags, Audit []flags.Flag }{list, audit}, err
}

// planPage is the saved plan of an environment, as troop plan --html makes it, and its approval.
func (s *Server) planPage(w http.ResponseWriter, r *http.Request) error {
	ctx, v, name := r.Context(), s.of(r), r.PathValue("environment")
	e, err := v.environment(ctx, name)
	if err != nil {
		return err
	}
	plan, err := e.Saved(ctx)
	if err != nil {
		return err
	}
	review, err := e.Review(ctx, plan)
	if err != nil {
		return err
	}
	if r.URL.Query().Has("bare") {
		html, err := review.HTML()
		if err != nil {
			return err
		}
		// The plan's page brings its own style, and no script.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(html)
		return nil
	}
	body := struct {
		Pipeline, Environment, Plan string
		Wanted, Approves            bool
	}{v.Name, name, review.Name(), review.Needed && review.Approval == nil && len(review.Refused) == 0, callerOf(ctx).in(v.Name, name).atLeast(Approver)}
	t := append(trail(v.Name), link{name, fmt.Sprintf("/p/%s/environments/%s", url.PathEscape(v.Name), url.PathEscape(name))})
	return s.render(w, r, "plan", page{Title: "plan " + review.Name(), Trail: t, Body: body})
}

// waiting is a job with what keeps it waiting.
type waiting struct {
	Job
	Waits string
}

// queueOf lists the queue, of a pipeline or of all that the caller may see.
func (s *Server) queueOf(ctx context.Context, pipeline string) ([]waiting, error) {
	jobs, err := s.queue()
	var list []waiting
	for _, j := range jobs {
		if (pipeline == "" || j.Pipeline == pipeline) && callerOf(ctx).in(j.Pipeline, j.Run.Environment).atLeast(Viewer) {
			w := waiting{Job: j}
			if j.Started.IsZero() {
				w.Waits = s.waitsFor(jobs, j)
			}
			list = append(list, w)
		}
	}
	return list, err
}

func (s *Server) queuePage(w http.ResponseWriter, r *http.Request) error {
	list, err := s.queueOf(r.Context(), "")
	if err != nil {
		return err
	}
	body := struct {
		Queue   []waiting
		Slots   int // here
		Away    bool
		Workers []queue.Worker
		Problem string
	}{Queue: list, Slots: s.o.Workers, Away: s.workers != nil}
	if body.Workers, err = s.present(r.Context()); err != nil {
		body.Problem = s.masked(err.Error())
	}
	return s.render(w, r, "queue", page{Title: "Queue", Body: body})
}

func (s *Server) auditPage(w http.ResponseWriter, r *http.Request) error {
	before, _ := strconv.ParseUint(r.URL.Query().Get("before"), 10, 64)
	acts, err := s.acts(callerOf(r.Context()), "", before, manyRuns+1)
	if err != nil {
		return err
	}
	body := struct {
		Acts  []Act
		Older uint64 // the acts before this one are on the next page; 0: there are none
	}{Acts: acts}
	if len(acts) > manyRuns {
		body.Acts, body.Older = acts[:manyRuns], acts[manyRuns-1].Number
	}
	return s.render(w, r, "audit", page{Title: "Who did what", Body: body})
}

func (s *Server) actPage(w http.ResponseWriter, r *http.Request) error {
	n, err := actNumber(r)
	if err != nil {
		return err
	}
	a, ok, err := s.actNow(n)
	if err != nil {
		return err
	}
	c := callerOf(r.Context())
	if !ok || !c.in(a.Pipeline, a.Place).atLeast(Viewer) {
		return &core.NotFoundError{What: "act", Name: r.PathValue("act")}
	}
	s.goingMu.Lock()
	_, goesOn := s.going[n]
	s.goingMu.Unlock()
	body := struct {
		Act
		GoesOn   bool
		Confirms []link // the form that does it, after it was only shown
		Target   string
	}{Act: a, GoesOn: goesOn}
	if a.Pipeline != "" && c.in(a.Pipeline, a.Place).atLeast(Operator) && !a.Failed && !goesOn {
		body.Target, body.Confirms = s.confirmation(r.Context(), a)
	}
	var t []link
	if a.Pipeline != "" {
		t = trail(a.Pipeline)
		if a.Place != "" {
			t = append(t, link{a.Place, fmt.Sprintf("/p/%s/environments/%s", url.PathEscape(a.Pipeline), url.PathEscape(a.Place))})
		}
	}
	return s.render(w, r, "act", page{Title: a.What, Trail: t, Body: body})
}

// confirmation returns where the form goes that carries out what an act has only shown, and its fields.
func (s *Server) confirmation(ctx context.Context, a Act) (string, []link) {
	words := strings.Fields(a.What)
	v := s.pipelines[a.Pipeline]
	if v == nil || len(words) < 2 || slices.Contains(words, option("yes", "true")) {
		return "", nil
	}
	x, err := v.action(ctx, words[0], words[1])
	if err != nil || !x.Confirms() {
		return "", nil
	}
	fields := []link{{"yes", "true"}}
	var rest []string
	for _, word := range words[2:] {
		name, value, ok := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		switch {
		case !ok:
			rest = append(rest, word)
		case name != "yes":
			fields = append(fields, link{name, value})
		}
	}
	values, _, err := x.Named(rest)
	if err != nil {
		return "", nil
	}
	for name, value := range values {
		fields = append(fields, link{name, value})
	}
	return fmt.Sprintf("/p/%s/environments/%s/action/%s/%s", url.PathEscape(a.Pipeline), url.PathEscape(a.Place), x.Type, x.Name), fields
}

// number is a value as people write it.
func number(v float64) string { return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64) }

// spark draws the values that a figure has had as a line, with its limit as another.
func spark(f *figure) template.HTML {
	const width, height = 160.0, 36.0
	low, high := slices.Min(f.Values), slices.Max(f.Values)
	if f.Limit != nil {
		low, high = min(low, *f.Limit), max(high, *f.Limit)
	}
	if low > 0 && low < high/2 {
		low = 0
	}
	span := cmp.Or(high-low, 1)
	y := func(v float64) float64 { return height - 3 - (v-low)/span*(height-6) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark" viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(fmt.Sprintf("%s: %d values, now %s %s", f.Name, len(f.Values), number(f.Value), f.Unit)))
	if f.Limit != nil {
		fmt.Fprintf(&b, `<line class="limit" x1="0" x2="%g" y1="%.1f" y2="%.1f"/>`, width, y(*f.Limit), y(*f.Limit))
	}
	b.WriteString(`<polyline points="`)
	for i, v := range f.Values {
		fmt.Fprintf(&b, "%.1f,%.1f ", float64(i)/float64(max(1, len(f.Values)-1))*width, y(v))
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, and a name that is escaped
}
