package engine

import (
	"context"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// observed is a job's capabilities with what the run must know of: tasks and events are recorded, secrets that
// are handed out are masked from then on.
type observed struct {
	core.Capabilities
	x     *execution
	stage core.Stage
	emit  func(core.Event)
}

func (o *observed) Playbook(ctx context.Context, p core.PlaybookRun, each func(core.TaskResult)) error {
	return o.Capabilities.Playbook(ctx, p, o.tasks(each))
}

func (o *observed) InstallAgent(ctx context.Context, hosts []core.HostName, each func(core.TaskResult)) error {
	return o.Capabilities.InstallAgent(ctx, hosts, o.tasks(each))
}

func (o *observed) tasks(each func(core.TaskResult)) func(core.TaskResult) {
	return func(t core.TaskResult) {
		e := core.TaskEvent(t)
		e.Source, e.Environment = string(o.stage.ID()), o.x.environment(o.stage)
		o.emit(e)
		if each != nil {
			each(t)
		}
	}
}

func (o *observed) Publish(ctx context.Context, e core.Event) error {
	e = o.own(e)
	o.emit(e)
	return o.Capabilities.Publish(ctx, e)
}

func (o *observed) Notify(ctx context.Context, e core.Event) error {
	e = o.own(e)
	o.emit(e)
	return o.Capabilities.Notify(ctx, e)
}

// own gives an event its identity before it goes two ways.
func (o *observed) own(e core.Event) core.Event {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e = ownEvent(e, o.stage, o.x.info)
	e.Environment = o.x.environment(o.stage)
	return o.x.complete(e)
}

func (o *observed) Secret(ctx context.Context, name string) (string, error) {
	s, err := o.Capabilities.Secret(ctx, name)
	if err == nil {
		o.x.mask.Add(s)
	}
	return s, err
}
