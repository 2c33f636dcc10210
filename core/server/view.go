package server

import (
	"context"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest/graph"
	"github.com/seed-b96de936/troop/core/ui"
)

// runView is what a page shows of a run: the record, and what its events say beyond it. It is not safe for concurrent use.
type runView struct {
	Pipeline string
	Run      core.Run
	Parts    []*part // what prepares an environment, and the stages
	Plan     []string
	Review   string // how the plan was reviewed

	needs   map[core.StageID][]core.StageID
	drawn   *core.Pipeline // those stages of the present manifest that the run has
	bySrc   map[string]*part
	visible bool // something changed since the parts were drawn

	source func(path string) []string // lines of a file of the commit; nil: they are not quoted
	files  map[string][]string        // what source has returned
}

// part is a stage of a run, or what prepared an environment for it.
type part struct {
	Source   string
	Status   core.Status
	Reason   string
	Started  time.Time
	Took     time.Duration
	Waits    string // for what, while it is pending
	Last     string // line of its log, task or progress
	Share    float64
	Reused   core.RunID
	Findings []finding
	Figures  []*figure
	Tables   []core.Table
	Lines    int
	Failures int // tasks that failed
}

// ID is the part's name as an identifier of a page.
func (p *part) ID() string { return strings.NewReplacer(".", "-", " ", "-").Replace(p.Source) }

// finding is a mistake in a place.
type finding struct {
	Text   string
	Error  bool
	Quoted []quoted // the source around it, when the commit has it

	path string
	line int
}

// quoted is a line of a source file.
type quoted struct {
	Number int
	Text   string
	At     bool // the finding is there
}

// figure is a metric with all the values that it has had.
type figure struct {
	Name, Unit, Detail string
	Value              float64
	Limit              *float64
	Values             []float64
}

// Least and Most are the bounds of the figure's values.
func (f *figure) Least() float64 { return slices.Min(f.Values) }

// Most is the largest of the figure's values.
func (f *figure) Most() float64 { return slices.Max(f.Values) }

// Several reports whether the figure has had values enough for a line.
func (f *figure) Several() bool { return len(f.Values) > 1 }

// newRunView begins with the record of a run.
func newRunView(pipeline string, p *core.Pipeline, r core.Run) *runView {
	v := &runView{Pipeline: pipeline, Run: r, bySrc: map[string]*part{}, needs: map[core.StageID][]core.StageID{}, files: map[string][]string{}, visible: true}
	drawn := core.Pipeline{Name: pipeline}
	for _, s := range r.Stages {
		x := v.part(string(s.ID))
		x.Status, x.Reason, x.Started, x.Reused = s.Status, s.Reason, s.Started, s.Reused
		if !s.Ended.IsZero() && !s.Started.IsZero() {
			x.Took = s.Ended.Sub(s.Started)
		}
		if p == nil {
			continue
		}
		if i := slices.IndexFunc(p.Stages, func(t core.Stage) bool { return t.ID() == s.ID }); i >= 0 {
			drawn.Stages = append(drawn.Stages, p.Stages[i])
			v.needs[s.ID] = p.Stages[i].Needs
		}
	}
	if len(drawn.Stages) == len(r.Stages) {
		v.drawn = &drawn
	}
	return v
}

// part returns the part of a source, and makes it.
func (v *runView) part(source string) *part {
	if p, ok := v.bySrc[source]; ok {
		return p
	}
	p := &part{Source: source, Status: core.Pending}
	v.bySrc[source] = p
	if strings.HasPrefix(source, "environment.") {
		v.Parts = slices.Insert(v.Parts, 0, p)
	} else {
		v.Parts = append(v.Parts, p)
	}
	return p
}

// owner is the part to which an event belongs; nil: the run itself.
func (v *runView) owner(e core.Event) *part {
	if p, ok := v.bySrc[e.Source]; ok {
		return p
	}
	if strings.HasPrefix(e.Source, "environment.") {
		return v.part(e.Source)
	}
	return v.bySrc["environment."+e.Environment]
}

// take notes one event.
func (v *runView) take(e core.Event) {
	v.visible = true
	switch e.Kind {
	case core.KindPlan:
		v.Plan = append(v.Plan, texts(e.Data["lines"])...)
		v.Review = text(e.Data["review"])
		return
	case core.KindRunPassed, core.KindRunPassedWithFailures, core.KindRunFailed, core.KindRunCancelled:
		v.Run.Status, v.Run.Ended = endStatus(e.Kind), e.Time
		if v.Run.Status != core.Passed {
			v.Run.Reason = e.Summary
		}
		return
	}
	p := v.owner(e)
	if p == nil {
		return
	}
	if s, ok := core.PartEnded(e.Kind); ok {
		p.end(e, s)
		return
	}
	switch e.Kind {
	case core.KindStageStarted, core.KindEnvironmentPreparing:
		if p.Status != core.Running && p.Took == 0 {
			p.Status, p.Started = core.Running, e.Time
		}
	case core.KindStageRetrying:
		p.Findings, p.Figures, p.Tables = nil, nil, nil // they were the failed attempt's
		p.Last = e.Summary
	case core.KindFinding:
		line, _ := core.Number(e.Data["line"])
		p.Findings = append(p.Findings, finding{Text: ui.Sentence(e), Error: text(e.Data["severity"]) == "error", path: text(e.Data["path"]), line: int(line)})
	case core.KindMetric:
		p.measure(e)
	case core.KindTable:
		p.Tables = append(p.Tables, tableOf(e))
	default:
		if e.Kind == core.KindProgress {
			done, _ := core.Number(e.Data["done"])
			if total, ok := core.Number(e.Data["total"]); ok && total > 0 {
				p.Share = min(1, done/total)
			}
		} else {
			p.Lines++
		}
		if s := strings.TrimSpace(ui.Sentence(e)); s != "" {
			p.Last = s
		}
	}
}

func (p *part) end(e core.Event, s core.Status) {
	p.Status, p.Reason, p.Last, p.Share = s, "", "", 0
	if s != core.Passed {
		p.Reason = e.Summary
	}
	if sec, ok := core.Number(e.Data["seconds"]); ok {
		p.Took = time.Duration(sec * float64(time.Second))
	}
}

// measure notes a metric. One of a name that was there is its next value.
func (p *part) measure(e core.Event) {
	name := text(e.Data["name"])
	i := slices.IndexFunc(p.Figures, func(f *figure) bool { return f.Name == name })
	if i < 0 {
		i = len(p.Figures)
		p.Figures = append(p.Figures, &figure{Name: name})
	}
	f := p.Figures[i]
	f.Unit, f.Detail = text(e.Data["unit"]), text(e.Data["detail"])
	f.Value, _ = core.Number(e.Data["value"])
	if limit, ok := core.Number(e.Data["limit"]); ok {
		f.Limit = &limit
	}
	f.Values = append(f.Values, f.Value)
}

// Graph draws the run: which stage waits for which, and what became of each. It is empty when the present manifest has
// other stages.
func (v *runView) Graph() template.HTML {
	if v.drawn == nil {
		return ""
	}
	return template.HTML(graph.Styled(v.drawn, func(id core.StageID) graph.Look { //nolint:gosec // it escapes what it draws
		p := v.bySrc[string(id)]
		title := string(id) + " " + string(p.Status)
		if p.Reason != "" {
			title += ": " + p.Reason
		}
		return graph.Look{Class: "node " + class(p.Status), Title: title, Href: "#" + p.ID()}
	}))
}

const (
	around    = 2   // lines before and after that of a finding
	mostFiles = 30  // that a run's page quotes
	mostWide  = 240 // bytes of a quoted line
)

// quote puts the lines of the commit beside a finding.
func (v *runView) quote(f *finding) {
	if v.source == nil || f.Quoted != nil || f.path == "" || f.line < 1 {
		return
	}
	lines, ok := v.files[f.path]
	if !ok && len(v.files) < mostFiles {
		lines = v.source(f.path)
		v.files[f.path] = lines
	}
	if f.line > len(lines) {
		return
	}
	for n := max(1, f.line-around); n <= min(len(lines), f.line+around); n++ {
		text := lines[n-1]
		if len(text) > mostWide {
			text = strings.ToValidUTF8(text[:mostWide], "") + "…"
		}
		f.Quoted = append(f.Quoted, quoted{n, text, n == f.line})
	}
}

// settle completes what follows from the parts together: what each pending one waits for, and the source of findings.
func (v *runView) settle() {
	for _, p := range v.Parts {
		for i := range p.Findings {
			v.quote(&p.Findings[i])
		}
		p.Waits = ""
		if p.Status != core.Pending || !v.Run.Ended.IsZero() {
			continue
		}
		var on []string
		for _, n := range v.needs[core.StageID(p.Source)] {
			if q := v.bySrc[string(n)]; q != nil && (q.Status == core.Pending || q.Status == core.Running) {
				on = append(on, q.Source)
			}
		}
		if len(on) > 0 {
			p.Waits = "waits for " + strings.Join(on, ", ")
		}
	}
}

// view reads a run with all its events.
func (v *served) view(ctx context.Context, id core.RunID) (*runView, error) {
	p, err := v.read(ctx)
	if err != nil {
		return nil, err
	}
	r, err := p.Files.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	view := newRunView(v.Name, p.Pipeline, r)
	for e, err := range p.Files.Events(ctx, id) {
		if err != nil && r.Status == core.Damaged {
			break
		}
		if err != nil {
			return nil, err
		}
		view.take(e)
	}
	view.Run = r // the record knows more than the events, such as that its process is gone
	for _, s := range r.Stages {
		if x := view.part(string(s.ID)); x.Status == core.Running {
			x.Status, x.Reason = s.Status, s.Reason
		}
	}
	return view, nil
}

// endStatus is the status of a run that an event of a kind ended.
func endStatus(kind string) core.Status {
	for _, s := range []core.Status{core.Passed, core.PassedWithFailures, core.Cancelled} {
		if core.RunEnded(s) == kind {
			return s
		}
	}
	return core.Failed
}

// tableOf reads a table of an event's data.
func tableOf(e core.Event) core.Table {
	t := core.Table{Columns: texts(e.Data["columns"])}
	if rows, ok := e.Data["rows"].([]any); ok {
		for _, r := range rows {
			t.Rows = append(t.Rows, texts(r))
		}
	}
	return t
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// texts reads strings of an event's data that has been through a journal.
func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, x := range list {
		out = append(out, text(x))
	}
	return out
}

// class is the name of a status in the style sheet.
func class(s core.Status) string { return strings.ReplaceAll(string(s), " ", "-") }
