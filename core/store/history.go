package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-b96de936/troop/core"
)

const (
	// reusable is how many of the newest runs are searched for results with the same inputs. Prune keeps their
	// artifacts.
	reusable = 20
	// lookback is how many of the newest runs are searched for a stage's last pass. A stage that has been skipped since,
	// because its files did not change, is found through the newest run that skipped it.
	lookback = 100
)

// history holds the results of earlier runs. Each run is read once, when it is needed. Its journal is read before one
// of its results is used: run.json alone proves nothing.
type history struct {
	files    *Files
	pipeline string
	damaged  func(error)
	left     []core.RunID // not yet read, the newest last
	runs     []past       // read, the newest first
	first    int          // how many of runs are among the first reusable ones
	taken    int          // how many were read, of any pipeline
	same     map[sameKey][]int
	proven   map[core.RunID]*past   // as the journal says; nil: damaged
	stored   map[core.Digest]string // paths of the artifacts
	good     map[core.Digest]bool   // which artifacts exist and are undamaged
}

// past is an earlier run.
type past struct {
	core.Run
	stages map[core.StageID]int
}

// sameKey is a stage with its inputs.
type sameKey struct {
	stage  core.StageID
	inputs core.Digest
}

// History opens the results of earlier runs of a pipeline.
func (f *Files) History(ctx context.Context, pipeline string, damaged func(error)) (core.History, error) {
	if _, err := f.refresh(ctx, lookback, ""); err != nil {
		return nil, err
	}
	ids, err := f.ids()
	if err != nil {
		return nil, err
	}
	return &history{
		files: f, pipeline: pipeline, damaged: damaged, left: ids[max(0, len(ids)-lookback):], proven: map[core.RunID]*past{},
	}, nil
}

// next reads one more run, if there is one.
func (h *history) next(ctx context.Context) (*past, error) {
	for len(h.left) > 0 {
		id := h.left[len(h.left)-1]
		h.left = h.left[:len(h.left)-1]
		h.taken++
		r, err := h.files.Run(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.Status == core.Damaged {
			h.damaged(errors.New(r.Reason))
			continue
		}
		if r.Pipeline != h.pipeline {
			continue
		}
		h.runs = append(h.runs, newPast(r))
		if h.taken <= reusable {
			h.first = len(h.runs)
		}
		return &h.runs[len(h.runs)-1], nil
	}
	return nil, nil //nolint:nilnil // there is none
}

func newPast(r core.Run) past {
	p := past{Run: r, stages: make(map[core.StageID]int, len(r.Stages))}
	for i, s := range r.Stages {
		p.stages[s.ID] = i
	}
	return p
}

// result returns what became of a stage; nil: the run did not have it.
func (p *past) result(id core.StageID) *core.StageResult {
	if i, ok := p.stages[id]; ok {
		return &p.Stages[i]
	}
	return nil
}

// prove returns a run as its journal describes it; nil: nothing proves it.
func (h *history) prove(ctx context.Context, id core.RunID) (*past, error) {
	if p, known := h.proven[id]; known {
		return p, nil
	}
	h.proven[id] = nil
	if err := h.files.fetchJournal(ctx, id); err != nil {
		return nil, err
	}
	sealed, err := h.files.seal(id)
	old := err == nil && sealed != nil && sealed.Hash == ""
	var rec record
	switch {
	case old:
		err = h.files.verifyOld(ctx, id)
	case err == nil:
		rec, err = h.files.replay(ctx, id, sealed)
	}
	if damage := (*DamageError)(nil); errors.As(err, &damage) {
		h.damaged(damage)
		return nil, nil //nolint:nilnil // nothing proves it
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // it was removed
	}
	if err != nil {
		return nil, err
	}
	if old { // of the first version of troop: nothing confirms its results
		return nil, nil //nolint:nilnil // nothing proves it
	}
	p := newPast(rec.Run)
	h.proven[id] = &p
	return &p, nil
}

// Same returns the newest result of a stage that passed with some inputs.
func (h *history) Same(ctx context.Context, stage core.StageID, inputs core.Digest) (*core.StageResult, error) {
	if inputs == "" {
		return nil, nil //nolint:nilnil // empty inputs are equal to none
	}
	if err := h.index(ctx); err != nil {
		return nil, err
	}
	for _, i := range h.same[sameKey{stage, inputs}] {
		p, err := h.prove(ctx, h.runs[i].ID)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		s := p.result(stage)
		if s == nil || !passed(*s) || s.Inputs != inputs {
			continue
		}
		if complete, err := h.complete(ctx, *s); err != nil {
			return nil, err
		} else if !complete {
			continue
		}
		r := *s
		if r.Reused == "" {
			r.Reused = p.ID
		}
		return &r, nil
	}
	return nil, nil //nolint:nilnil // there is none
}

// passed reports whether a stage passed, in this run or in the one whose result was reused.
func passed(r core.StageResult) bool { return r.Status == core.Passed || r.Reused != "" }

// index lists the runs that have a result with inputs, among the first ones.
func (h *history) index(ctx context.Context) error {
	if h.same != nil {
		return nil
	}
	for h.taken < reusable {
		if p, err := h.next(ctx); err != nil {
			return err
		} else if p == nil {
			break
		}
	}
	entries, err := os.ReadDir(filepath.Join(h.files.dir, "artifacts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h.stored, h.good = make(map[core.Digest]string, len(entries)), map[core.Digest]bool{}
	for _, e := range entries {
		h.stored[digestOf(e.Name())] = filepath.Join(h.files.dir, "artifacts", e.Name())
	}
	h.same = map[sameKey][]int{}
	for i := range h.runs[:h.first] {
		for _, s := range h.runs[i].Stages {
			if s.Inputs != "" && passed(s) {
				k := sameKey{s.ID, s.Inputs}
				h.same[k] = append(h.same[k], i)
			}
		}
	}
	return nil
}

// complete reports whether every digest in a result's outputs is that of an artifact that exists undamaged.
func (h *history) complete(ctx context.Context, r core.StageResult) (bool, error) {
	for d := range digests(r) {
		good, known := h.good[d]
		if !known && h.stored[d] == "" {
			if a, err := h.files.Artifact(ctx, d); err == nil {
				h.stored[d] = a.Path
			}
		}
		if !known && h.stored[d] != "" {
			_, err := checkArtifact(ctx, h.stored[d], d)
			damage := (*DamageError)(nil)
			if errors.As(err, &damage) {
				h.damaged(damage)
			} else if err != nil {
				return false, err
			}
			good = err == nil
		}
		h.good[d] = good
		if !good {
			return false, nil
		}
	}
	return true, nil
}

// Passed returns when a stage last passed for another commit.
func (h *history) Passed(ctx context.Context, stage core.StageID, o core.RunOptions) (*core.Pass, error) {
	fits := func(p *past) bool {
		return p.Branch == o.Branch && p.Environment == o.Environment && p.Commit != o.Commit
	}
	for i := 0; ; i++ {
		if i == len(h.runs) {
			if p, err := h.next(ctx); p == nil || err != nil {
				return nil, err
			}
		}
		r := &h.runs[i]
		s := r.result(stage)
		if s == nil || !passed(*s) || !fits(r) {
			continue
		}
		from := r.ID
		if s.Reused != "" {
			from = s.Reused
		}
		p, err := h.prove(ctx, from)
		if err != nil {
			return nil, err
		}
		if p == nil || p.Pipeline != h.pipeline || !fits(p) {
			continue
		}
		if s := p.result(stage); s != nil && s.Status == core.Passed {
			return &core.Pass{Run: p.ID, Commit: p.Commit, Outputs: s.Outputs}, nil
		}
	}
}

var (
	_ core.History = (*history)(nil)
	_ core.Store   = (*Files)(nil)
)
