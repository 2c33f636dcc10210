package project

import (
	"context"
	"errors"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// FindRun returns the run that the first characters of its ID name; none: the newest of the pipeline.
func (p *Project) FindRun(ctx context.Context, id ...string) (core.Run, error) {
	if len(id) > 0 && id[0] != "" {
		return p.Files.Find(ctx, id[0])
	}
	return p.Files.Newest(ctx, p.Name)
}

// Runs returns the run that is named, or all runs of the pipeline.
func (p *Project) Runs(ctx context.Context, id []string) ([]core.Run, error) {
	if len(id) == 0 {
		return p.Files.Runs(ctx, store.Filter{Pipeline: p.Name})
	}
	run, err := p.Files.Find(ctx, id[0])
	return []core.Run{run}, err
}

// ReadRun returns a run as FindRun does, verified, and its events. Of a damaged run it returns what can be read.
func (p *Project) ReadRun(ctx context.Context, id ...string) (core.Run, []core.Event, error) {
	run, err := p.FindRun(ctx, id...)
	if err != nil {
		return run, nil, err
	}
	err = p.Files.Verify(ctx, run.ID)
	if damage, ok := errors.AsType[*store.DamageError](err); ok {
		run.Status, run.Reason = core.Damaged, damage.Error()
	} else if err != nil {
		return run, nil, err
	}
	var events []core.Event
	for e, err := range p.Files.Events(ctx, run.ID) {
		if err != nil && run.Status == core.Damaged {
			break
		}
		if err != nil {
			return run, events, err
		}
		events = append(events, e)
	}
	return run, events, nil
}

// FindSource returns the run and the source of its events that the arguments [RUN] [STAGE] name. Without a run it is the
// newest one, and a single argument may name one of its stages.
func (p *Project) FindSource(ctx context.Context, args []string) (core.Run, string, error) {
	stage := ""
	switch len(args) {
	case 1:
		newest, err := p.Files.Newest(ctx, p.Name)
		if err == nil {
			source, err := newest.Source(args[0])
			if err == nil || strings.Contains(args[0], ".") { // no run is called so
				return newest, source, err
			}
		} else if !errors.As(err, new(*core.NotFoundError)) {
			return newest, "", err
		}
	case 2:
		stage = args[1]
	}
	run, err := p.FindRun(ctx, args...)
	if err != nil {
		return run, "", err
	}
	source, err := run.Source(stage)
	return run, source, err
}
