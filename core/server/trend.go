package server

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// trend is how the figures of a part went over several runs, the oldest first.
type trend struct {
	Source  string
	Figures []*figure
}

// ID is the part's name as an identifier of a page.
func (t *trend) ID() string { return (&part{Source: t.Source}).ID() }

// trendRuns is over how many runs the figures are shown.
const trendRuns = 40

// trendPage shows how long the parts of a pipeline took in its last runs, and what they measured, such as coverage.
func (s *Server) trendPage(w http.ResponseWriter, r *http.Request) error {
	ctx, v, q := r.Context(), s.of(r), r.URL.Query()
	p, err := v.read(ctx)
	if err != nil {
		return err
	}
	f := store.Filter{Pipeline: v.Name, Branch: q.Get("branch"), Environment: q.Get("environment"), Limit: trendRuns}
	f.Statuses = []core.Status{core.Passed, core.PassedWithFailures, core.Failed}
	runs, err := p.Files.Runs(ctx, f)
	if err != nil {
		return err
	}
	body := struct {
		Pipeline string
		Filter   store.Filter
		Runs     []core.Run
		Trends   []*trend
	}{Pipeline: v.Name, Filter: f, Runs: runs}
	for _, run := range slices.Backward(runs) {
		parts, err := s.measured(ctx, v, run.ID)
		if err != nil {
			return err
		}
		for _, part := range parts {
			i := slices.IndexFunc(body.Trends, func(t *trend) bool { return t.Source == part.Source })
			if i < 0 {
				i = len(body.Trends)
				body.Trends = append(body.Trends, &trend{Source: part.Source})
			}
			for _, f := range part.Figures {
				body.Trends[i].add(f)
			}
		}
	}
	return s.render(w, r, "trend", page{Title: "Over time", Trail: trail(v.Name), Body: body})
}

// add puts the last value that a figure had in a run behind those of earlier runs.
func (t *trend) add(f *figure) {
	i := slices.IndexFunc(t.Figures, func(g *figure) bool { return g.Name == f.Name })
	if i < 0 {
		i = len(t.Figures)
		t.Figures = append(t.Figures, &figure{Name: f.Name})
	}
	g := t.Figures[i]
	g.Unit, g.Value, g.Limit, g.Values = f.Unit, f.Value, f.Limit, append(g.Values, f.Value)
}

// measured are the parts of a run that has ended, each with what it took and measured itself: what was taken over from an
// earlier run is that run's. Runs do not change after their end, so each is read once.
func (s *Server) measured(ctx context.Context, v *served, id core.RunID) ([]trend, error) {
	if m, ok := s.trends.Load(id); ok {
		return m.([]trend), nil
	}
	view, err := v.view(ctx, id)
	if err != nil {
		return nil, err
	}
	var list []trend
	for _, p := range view.Parts {
		if p.Reused != "" || p.Took == 0 {
			continue
		}
		t := trend{Source: p.Source, Figures: []*figure{{Name: "time", Unit: "s", Value: p.Took.Round(10 * time.Millisecond).Seconds()}}}
		for _, f := range p.Figures {
			t.Figures = append(t.Figures, &figure{Name: f.Name, Unit: f.Unit, Value: f.Value, Limit: f.Limit})
		}
		list = append(list, t)
	}
	s.trends.Store(id, list)
	return list, nil
}
