package engine

import (
	"context"
	"path"
	"slices"

	"github.com/seed-b96de936/troop/core"
)

// triggered fills in what the options of a run leave to the triggers of the manifest: the first one that fits the
// branch, and the environment when one is chosen.
func triggered(p *core.Pipeline, o core.RunOptions) core.RunOptions {
	for _, t := range p.Triggers {
		fits := slices.ContainsFunc(t.Branches, func(pattern string) bool { return matches(pattern, o.Branch) })
		if !fits || (o.Environment != "" && t.Environment != o.Environment) {
			continue
		}
		if o.Until == "" {
			o.Until = t.Until
		}
		o.Environment = t.Environment
		return o
	}
	return o
}

// matches reports whether a branch fits a pattern of path.Match, in which * does not match a slash.
func matches(pattern, branch string) bool {
	ok, err := path.Match(pattern, branch)
	return ok && err == nil
}

// passed is the run in which a stage last passed: which files differ since then, and what the stage gave.
type passed struct {
	run     core.RunID
	files   []string // below the source folder
	outputs map[string]any
}

// lastPassed compares the commit of this run with that of the newest run in which a stage passed on the same branch and
// in the same environment; nil: there is none. A run of the same commit does not count, so that running a commit
// again gives the same result.
func (x *execution) lastPassed(ctx context.Context, id core.StageID) (*passed, error) {
	runs, err := x.past()
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		i := slices.IndexFunc(r.Stages, func(s core.StageResult) bool { return s.ID == id && s.Status == core.Passed })
		if i < 0 || r.Branch != x.info.Branch || r.Environment != x.info.Environment || r.Commit == x.info.Commit {
			continue
		}
		files, err := x.engine.Source.Changed(ctx, r.Commit, x.info.Commit)
		return &passed{run: r.ID, files: files, outputs: r.Stages[i].Outputs}, err
	}
	return nil, nil
}

// untouched returns the run in which a stage last passed when no file that the stage is about has changed since. When
// that cannot be told, the stage runs.
func (x *execution) untouched(ctx context.Context, i int) *passed {
	s := x.pipeline.Stages[i]
	if len(s.When.Paths) == 0 || x.options.Force {
		return nil
	}
	last, err := x.lastPassed(ctx, s.ID())
	if err != nil {
		x.emit(ctx, core.Event{
			Source: string(s.ID()), Kind: core.KindLog, Severity: core.Warning, Environment: x.environment(s),
			Summary: "cannot tell what changed; running: " + err.Error(), Data: map[string]any{"error": true},
		})
		return nil
	}
	if last == nil || slices.ContainsFunc(last.files, s.When.Paths.Match) {
		return nil
	}
	return last
}
