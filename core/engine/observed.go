package engine

import (
	"context"

	"github.com/seed-b96de936/troop/core"
)

// observed is the capabilities of a job, with what has to be shown and hidden: tasks and events are reported, secrets
// that are handed out are masked from then on.
type observed struct {
	core.Capabilities
	from *origin
}

func (o *observed) Playbook(ctx context.Context, p core.PlaybookRun, each func(core.TaskResult)) error {
	return o.Capabilities.Playbook(ctx, p, o.tasks(each))
}

func (o *observed) InstallAgent(ctx context.Context, hosts []core.HostName, each func(core.TaskResult)) error {
	return o.Capabilities.InstallAgent(ctx, hosts, o.tasks(each))
}

func (o *observed) tasks(each func(core.TaskResult)) func(core.TaskResult) {
	return func(t core.TaskResult) {
		o.from.emit(core.TaskEvent(t))
		if each != nil {
			each(t)
		}
	}
}

func (o *observed) Publish(ctx context.Context, e core.Event) error {
	return o.Capabilities.Publish(ctx, o.report(e))
}

func (o *observed) Notify(ctx context.Context, e core.Event) error {
	return o.Capabilities.Notify(ctx, o.report(e))
}

// report shows an event and returns it as it was shown, for the other place where it goes.
func (o *observed) report(e core.Event) core.Event {
	e = complete(o.from.own(e), o.from.mask)
	o.from.send(e)
	return e
}

func (o *observed) StorageKey(ctx context.Context) (core.StorageKey, error) {
	key, err := o.Capabilities.StorageKey(ctx)
	if err == nil {
		o.from.mask.Add(key.PrivateKey)
	}
	return key, err
}

func (o *observed) Secret(ctx context.Context, name string) (string, error) {
	s, err := o.Capabilities.Secret(ctx, name)
	if err == nil {
		o.from.mask.Add(s)
	}
	return s, err
}
