package sdk

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// capabilities returns the declared capabilities of a call, if the core offers any. The core checks the declaration, too.
func capabilities(conn grpc.ClientConnInterface, declared []Capability) Capabilities {
	return contract.Guard(wire.Remote(conn), func(c Capability) error {
		switch {
		case !slices.Contains(declared, c):
			return refusedf("capability %q is not declared: add it to the Capabilities of the stage, or of the agent or action", c)
		case conn == nil:
			return refusedf("capability %q is not offered to this call", c)
		}
		return nil
	})
}

func refusedf(format string, args ...any) error {
	return &contract.Error{Kind: contract.ErrRefused, Text: fmt.Sprintf(format, args...)}
}

// Playbook runs a playbook on some hosts and returns the results of all tasks. The error of a failed run names the first
// failed host and task. Job.Capabilities.Playbook delivers results as they arrive. Capability: Playbook.
func (j *Job) Playbook(ctx context.Context, p PlaybookRun) ([]TaskResult, error) {
	return collect(ctx, func(each func(TaskResult)) error { return j.Capabilities.Playbook(ctx, p, each) })
}

// InstallAgent installs the plugin's agent with this stage's configuration on hosts and starts it; no hosts means every
// host. Capability: Agents.
func (j *Job) InstallAgent(ctx context.Context, hosts ...HostName) error {
	_, err := collect(ctx, func(each func(TaskResult)) error { return j.Capabilities.InstallAgent(ctx, hosts, each) })
	return err
}

// collect collects all results and adds the first failed task to the error.
func collect(ctx context.Context, run func(each func(TaskResult)) error) ([]TaskResult, error) {
	var results []TaskResult
	err := run(func(t TaskResult) { results = append(results, t) })
	if err == nil || ctx.Err() != nil {
		return results, err
	}
	for _, t := range results {
		if t.Status == "failed" || t.Status == "unreachable" {
			return results, fmt.Errorf("%w: host %s, task %q: %s", err, t.Host, t.Task, t.Message)
		}
	}
	return results, err
}
