package environment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/terraform"
)

// driftWait is how long a host may take to say what is installed on it.
const driftWait = 20 * time.Second

// Drift compares the environment with what was last applied to it, and changes nothing: Terraform refreshes its view
// of the resources, what stages have installed is compared with their notes, and Ansible runs the playbook in check
// mode on the hosts that answer.
func (e *Environment) Drift(ctx context.Context) (*core.Drift, error) {
	s, err := e.open()
	if err != nil {
		return nil, err
	}
	check := driftCheck{
		site: s, lost: map[core.HostName]bool{},
		report: &core.Drift{Environment: e.conf.Name, Hosts: []core.HostDrift{}, Resources: []core.Difference{}},
	}
	for _, h := range s.hosts {
		check.report.Hosts = append(check.report.Hosts, core.HostDrift{Host: h.Name, Role: h.Role, Differences: []core.Difference{}})
	}
	if e.conf.Terraform != nil {
		w, err := e.terraform(ctx)
		if err != nil {
			return nil, err
		}
		plan, err := w.Drift(ctx)
		if err != nil {
			return nil, err
		}
		check.resources(plan.Drift)
	}
	check.installed(ctx)
	if e.conf.Ansible != nil {
		if err := check.configured(ctx, ansible.Run{Playbook: e.conf.Ansible.Playbook}); err != nil {
			return nil, err
		}
	}
	check.judge()
	return check.report, context.Cause(ctx)
}

// driftCheck collects a report. A host without a status answers so far.
type driftCheck struct {
	site   *site
	report *core.Drift
	lost   map[core.HostName]bool // Terraform misses a resource of them
}

func (c *driftCheck) host(name core.HostName) *core.HostDrift {
	i := slices.IndexFunc(c.report.Hosts, func(h core.HostDrift) bool { return h.Host == name })
	if i < 0 {
		return nil
	}
	return &c.report.Hosts[i]
}

// resources takes what Terraform has found.
func (c *driftCheck) resources(changes []terraform.Change) {
	for _, change := range changes {
		all := []core.Difference{}
		for _, at := range change.Attributes {
			all = append(all, core.Difference{
				Layer: "terraform", What: change.Address, Detail: fmt.Sprintf("%s: %s → %s", at.Name, at.Before, at.After),
			})
		}
		gone := change.Action == terraform.Destroy
		if gone {
			all = []core.Difference{{Layer: "terraform", What: change.Address, Detail: "it is gone"}}
		}
		if h := c.host(change.Host); h != nil {
			h.Differences = append(h.Differences, all...)
			c.lost[h.Host] = c.lost[h.Host] || gone
		} else {
			c.report.Resources = append(c.report.Resources, all...)
		}
	}
}

// installed asks every host what is no longer as a stage has installed it. This also finds the hosts that do not
// answer.
func (c *driftCheck) installed(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, driftWait, fmt.Errorf("no answer within %s", driftWait))
	defer cancel()
	var wg sync.WaitGroup
	for i, h := range c.site.hosts {
		found := &c.report.Hosts[i]
		wg.Go(func() {
			_, err := c.site.ssh.HostKey(h) // the first contact would pin a key that is not pinned
			var altered []string
			if err == nil {
				altered, err = c.site.ansible.Altered(ctx, h)
			}
			if err != nil {
				found.Status, found.Reason = core.HostUnreachable, err.Error()
				if remote.Exited(err) {
					found.Status = core.HostUnchecked
				}
			}
			for _, line := range altered {
				found.Differences = append(found.Differences, core.Difference{Layer: "installed", What: line})
			}
		})
	}
	wg.Wait()
}

// configured runs a playbook in check mode on the hosts that answer.
func (c *driftCheck) configured(ctx context.Context, run ansible.Run) error {
	c.report.Pending = c.site.ansible.Pending(run)
	run.Check = true
	for _, h := range c.report.Hosts {
		if h.Status == "" {
			run.Hosts = append(run.Hosts, h.Host)
		}
	}
	if len(run.Hosts) == 0 {
		return nil
	}
	_, err := c.site.ansible.Run(ctx, run, func(t core.TaskResult) {
		if h := c.host(t.Host); h != nil && t.Status == "changed" {
			h.Differences = append(h.Differences, core.Difference{Layer: "ansible", What: t.Task, Detail: t.Message, Path: t.Path})
		}
	})
	failed, ok := errors.AsType[*ansible.Error](err)
	if !ok || len(failed.Failed) == 0 {
		return err
	}
	for _, t := range failed.Failed {
		if h := c.host(t.Host); h != nil {
			h.Status, h.Reason = core.HostUnchecked, fmt.Sprintf("task %q: %s (%s)", t.Task, t.Message, t.Path)
			if t.Status == "unreachable" {
				h.Status, h.Reason = core.HostUnreachable, t.Message
			}
		}
	}
	return nil
}

// judge gives every host its final status. One that does not answer, and that Terraform misses a part of, is gone.
func (c *driftCheck) judge() {
	for i := range c.report.Hosts {
		h := &c.report.Hosts[i]
		switch {
		case h.Status == core.HostUnreachable && c.lost[h.Host]:
			h.Status = core.HostGone
		case h.Status != "":
		case len(h.Differences) > 0:
			h.Status = core.HostDrifted
		default:
			h.Status = core.HostUnchanged
		}
	}
}

// stopAtDrift looks for drift before a run changes anything, when the manifest asks for it, and ends the run when the
// manifest says so; a forced run goes on and brings back what was applied.
func (e *Environment) stopAtDrift(ctx context.Context, force bool, emit func(core.Event)) error {
	if e.conf.Terraform == nil || e.conf.Terraform.Review.Drift == "" {
		return nil
	}
	say := func(line string) { emit(core.Event{Kind: core.KindLog, Summary: line}) }
	if _, err := e.Hosts(); errors.As(err, new(*core.NotFoundError)) {
		say("drift: not looked for, since there are no hosts yet")
		return nil
	}
	report, err := e.Drift(ctx)
	if err != nil {
		return fmt.Errorf("look for drift: %w", err)
	}
	if report.Pending != "" {
		say("drift: what differs from the playbook is left to this run: " + report.Pending)
		ignorePending(report)
	}
	warn := func(host core.HostName, line string) {
		emit(core.Event{Kind: core.KindLog, Severity: core.Warning, Host: host, Summary: "drift: " + line})
	}
	for _, h := range report.Drifted() {
		if h.Reason != "" {
			warn(h.Host, fmt.Sprintf("%s: %s", h.Status, h.Reason))
		}
		for _, d := range h.Differences {
			warn(h.Host, d.String())
		}
	}
	for _, d := range report.Resources {
		warn("", d.String())
	}
	say(report.String())
	if e.conf.Terraform.Review.Drift == core.StopAtDrift && !report.Empty() && !force {
		return fmt.Errorf("%s; see troop drift%s, and bring back what was applied with troop run%[2]s --force", report, e.Arguments())
	}
	return nil
}

// ignorePending leaves out what may be a change of the configuration that is not applied yet.
func ignorePending(report *core.Drift) {
	for i := range report.Hosts {
		h := &report.Hosts[i]
		h.Differences = slices.DeleteFunc(h.Differences, func(d core.Difference) bool { return d.Layer == "ansible" })
		if len(h.Differences) == 0 && h.Status == core.HostDrifted {
			h.Status = core.HostUnchanged
		}
	}
}
