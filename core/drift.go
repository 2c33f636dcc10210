package core

import (
	"fmt"
	"slices"
	"strings"
)

// Drift is how an environment differs from what was last applied to it.
type Drift struct {
	Environment string `json:"environment"`
	// Pending says what changed in the manifest or the playbooks since the hosts were last configured. A
	// difference may be due to that.
	Pending   string       `json:"pending,omitempty"`
	Hosts     []HostDrift  `json:"hosts"`
	Resources []Difference `json:"resources"` // resources that belong to no host
	// Computed are values that nobody configures and that only the provider decides, such as a DNS name. They are
	// shown on request and are no drift.
	Computed []Difference `json:"computed,omitempty"`
}

// HostDrift lists the changes on one host.
type HostDrift struct {
	Host        HostName     `json:"host"`
	Role        string       `json:"role"`
	Status      HostStatus   `json:"status"`
	Reason      string       `json:"reason,omitempty"` // why it could not be checked
	Differences []Difference `json:"differences"`
}

// HostStatus is the result of a drift check of one host.
type HostStatus string

// The results. A host that cannot be checked counts as drifted.
const (
	HostUnchanged   HostStatus = "ok"
	HostDrifted     HostStatus = "drifted"
	HostGone        HostStatus = "gone" // does not answer, and one of its Terraform resources is missing
	HostUnreachable HostStatus = "unreachable"
	HostUnchecked   HostStatus = "failed" // answers, but the check failed
)

// Difference is one change.
type Difference struct {
	Layer   string  `json:"layer"` // terraform, ansible, or installed: by a stage
	What    string  `json:"what"`
	Detail  string  `json:"detail,omitempty"`
	Path    string  `json:"path,omitempty"`    // FILE:LINE of the task that sets the wanted state
	Concern Concern `json:"concern,omitempty"` // empty: none in particular
}

// Concern is what a difference is about. It decides the order of a report.
type Concern string

// The concerns, the heaviest first. The first two head a report, before what is listed by host.
const (
	ConcernAccess Concern = "access" // who may reach whom
	ConcernGone   Concern = "gone"   // a resource no longer exists
	ConcernDisk   Concern = "disk"
	ConcernTags   Concern = "tags"
)

// Compare orders concerns by weight.
func (c Concern) Compare(d Concern) int { return c.rank() - d.rank() }

func (c Concern) rank() int {
	order := []Concern{ConcernAccess, ConcernGone, ConcernDisk, ConcernTags}
	if i := slices.Index(order, c); i >= 0 {
		return i
	}
	return len(order)
}

func (c Concern) urgent() bool { return c == ConcernAccess || c == ConcernGone }

func (d Difference) String() string {
	s := d.What
	if d.Detail != "" {
		s += ": " + d.Detail
	}
	if d.Path != "" {
		s += " (" + d.Path + ")"
	}
	return s
}

// Drifted returns the hosts that changed.
func (d *Drift) Drifted() []HostDrift {
	return slices.DeleteFunc(slices.Clone(d.Hosts), func(h HostDrift) bool { return h.Status == HostUnchanged })
}

// Empty reports whether nothing has changed.
func (d *Drift) Empty() bool { return len(d.Drifted()) == 0 && len(d.Resources) == 0 }

// String is a one-line summary.
func (d *Drift) String() string {
	if d.Empty() {
		return fmt.Sprintf("environment %s: no drift on %d hosts", d.Environment, len(d.Hosts))
	}
	var parts []string
	for _, h := range d.Drifted() {
		parts = append(parts, fmt.Sprintf("%s is %s", h.Host, h.Status))
	}
	if n := len(d.Resources); n > 0 {
		parts = append(parts, fmt.Sprintf("%d changes to resources of no host", n))
	}
	return fmt.Sprintf("environment %s has drifted: %s", d.Environment, strings.Join(parts, ", "))
}

// Lines is the report as text: first who may reach whom and what is gone, then the rest by host.
func (d *Drift) Lines() []string {
	lines := d.urgent()
	if d.Pending != "" {
		lines = append(lines, "some differences may be changes not yet applied: "+d.Pending)
	}
	for _, h := range d.Drifted() {
		line := fmt.Sprintf("%s (%s): %s", h.Host, h.Role, h.Status)
		if h.Reason != "" {
			line += ": " + h.Reason
		}
		lines = append(lines, line)
		for _, x := range calm(h.Differences) {
			lines = append(lines, fmt.Sprintf("  %-9s  %s", x.Layer, x))
		}
	}
	for _, x := range calm(d.Resources) {
		lines = append(lines, x.String())
	}
	if n := len(d.Computed); n > 0 {
		lines = append(lines, fmt.Sprintf("%d values that the provider computes have changed; -v lists them", n))
	}
	return append(lines, d.String())
}

// Verbose is Lines with the computed values.
func (d *Drift) Verbose() []string {
	all := *d
	all.Computed = nil
	var lines []string
	for _, x := range d.Computed {
		lines = append(lines, "computed  "+x.String())
	}
	return append(lines, all.Lines()...)
}

// urgent are the lines of the heaviest differences of all hosts and resources.
func (d *Drift) urgent() []string {
	var all []Difference
	for _, h := range d.Hosts {
		all = append(all, h.Differences...)
	}
	all = slices.DeleteFunc(append(all, d.Resources...), func(x Difference) bool { return !x.Concern.urgent() })
	slices.SortStableFunc(all, func(a, b Difference) int { return a.Concern.Compare(b.Concern) })
	var lines []string
	for _, x := range all {
		lines = append(lines, "! "+x.String())
	}
	return lines
}

// calm are the differences that do not head the report, by weight.
func calm(all []Difference) []Difference {
	rest := slices.DeleteFunc(slices.Clone(all), func(x Difference) bool { return x.Concern.urgent() })
	slices.SortStableFunc(rest, func(a, b Difference) int { return a.Concern.Compare(b.Concern) })
	return rest
}
