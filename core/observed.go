package core

import (
	"context"
	"time"
)

// observed is a job's capabilities with what the run must know of: tasks and events are recorded, secrets that
// are handed out are masked from then on.
type observed struct {
	Capabilities
	x     *execution
	stage Stage
	emit  func(Event)
}

func (o *observed) Playbook(ctx context.Context, p PlaybookRun, each func(TaskResult)) error {
	return o.Capabilities.Playbook(ctx, p, o.tasks(each))
}

func (o *observed) InstallAgent(ctx context.Context, hosts []HostName, each func(TaskResult)) error {
	return o.Capabilities.InstallAgent(ctx, hosts, o.tasks(each))
}

func (o *observed) tasks(each func(TaskResult)) func(TaskResult) {
	return func(t TaskResult) {
		e := TaskEvent(t)
		e.Source, e.Environment = string(o.stage.ID()), o.x.environment(o.stage)
		o.emit(e)
		if each != nil {
			each(t)
		}
	}
}

// TaskEvent tells what one task did on one host.
func TaskEvent(t TaskResult) Event {
	e := Event{
		Host: t.Host, Kind: KindTask, Summary: t.Task,
		Data: map[string]any{"status": t.Status, "path": t.Path, "seconds": t.Elapsed.Seconds()},
	}
	if t.Message != "" {
		e.Data["message"] = t.Message
	}
	if t.Status == "failed" || t.Status == "unreachable" {
		e.Severity = Warning
	}
	return e
}

func (o *observed) Publish(ctx context.Context, e Event) error {
	e = o.own(e)
	o.emit(e)
	return o.Capabilities.Publish(ctx, e)
}

func (o *observed) Notify(ctx context.Context, e Event) error {
	e = o.own(e)
	o.emit(e)
	return o.Capabilities.Notify(ctx, e)
}

// own gives an event its identity before it goes two ways.
func (o *observed) own(e Event) Event {
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
