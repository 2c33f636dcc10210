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
	Layer  string `json:"layer"` // terraform, ansible, or installed: by a stage
	What   string `json:"what"`
	Detail string `json:"detail,omitempty"`
	Path   string `json:"path,omitempty"` // FILE:LINE of the task that sets the wanted state
}

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

// Lines is the report as text.
func (d *Drift) Lines() []string {
	var lines []string
	if d.Pending != "" {
		lines = append(lines, "some differences may be changes not yet applied: "+d.Pending)
	}
	for _, h := range d.Drifted() {
		line := fmt.Sprintf("%s (%s): %s", h.Host, h.Role, h.Status)
		if h.Reason != "" {
			line += ": " + h.Reason
		}
		lines = append(lines, line)
		for _, x := range h.Differences {
			lines = append(lines, fmt.Sprintf("  %-9s  %s", x.Layer, x))
		}
	}
	for _, x := range d.Resources {
		lines = append(lines, x.String())
	}
	return append(lines, d.String())
}
