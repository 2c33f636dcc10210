package core

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Host is a machine reached over SSH.
type Host struct {
	Name           HostName `json:"name"`
	Role           string   `json:"role"`            // of several: the first of router, production, canary, storage, data
	Roles          []string `json:"roles,omitempty"` // all, of a host with several
	Address        string   `json:"address"`
	PrivateAddress string   `json:"private_address"`
	User           string   `json:"user"`
	Port           int      `json:"port"`
	HostKey        string   `json:"host_key,omitempty"` // authorized_keys format; empty: pinned on first connection

	Jump string   `json:"jump,omitempty"` // hosts to connect through, as ProxyJump of ssh_config
	SSM  *Session `json:"ssm,omitempty"`  // set: reached through AWS Systems Manager, without an open port

	Given *Given `json:"given,omitempty"` // nil: Terraform made it

	Tags []string       `json:"tags,omitempty"` // sorted; each is an inventory group
	Vars map[string]any `json:"vars,omitempty"` // inventory variables
}

// Given says how a server that exists already, and that the manifest names, is reached. What it does not say is as the
// user's SSH configuration and agent say.
type Given struct {
	Key string `json:"key,omitempty"` // absolute path of a private key, or of its public half where an agent has the other
}

// Session names an instance to AWS Systems Manager.
type Session struct {
	Instance string `json:"instance"`
	Region   string `json:"region"`
}

// Roles are the roles that a host may have.
var Roles = []string{"production", "canary", "router", "storage", "data"}

// Has reports whether a host has a role.
func (h Host) Has(role string) bool { return h.Role == role || slices.Contains(h.Roles, role) }

// InRoles returns the roles of a host, of which there is at least one.
func (h Host) InRoles() []string {
	if len(h.Roles) == 0 {
		return []string{h.Role}
	}
	return h.Roles
}

// HostError says what is wrong with one attribute of a host.
type HostError struct{ Attribute, Text string }

func (e *HostError) Error() string { return e.Text }

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

	hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	// jumpHosts is what ProxyJump takes: hosts separated by commas, nothing that ssh or a shell would read otherwise.
	jumpHosts = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@:,/\[\]-]*$`)
	instance  = regexp.MustCompile(`^m?i-[0-9a-f]{8,17}$`)
	region    = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)

	dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
)

// Complete sets what is missing: the port, the private address, the role.
func (h *Host) Complete() {
	h.Port = cmp.Or(h.Port, 22)
	h.PrivateAddress = cmp.Or(h.PrivateAddress, h.Address)
	h.HostKey = strings.TrimSpace(h.HostKey)
	switch len(h.Roles) {
	case 0:
	case 1:
		h.Role, h.Roles = h.Roles[0], nil
	default:
		h.Role = h.Roles[0]
		for _, role := range []string{"data", "storage", "canary", "production", "router"} {
			if slices.Contains(h.Roles, role) {
				h.Role = role
			}
		}
	}
}

// Check returns the first mistake in a complete host as a *HostError.
func (h Host) Check() error {
	wrong := func(attribute, format string, args ...any) error {
		return &HostError{attribute, fmt.Sprintf(format, args...)}
	}
	if !hostName.MatchString(string(h.Name)) {
		return wrong("name", "a name is lower-case letters, digits and dashes")
	}
	for i, role := range h.InRoles() {
		if !slices.Contains(Roles, role) {
			return wrong("roles", "role is %q, want one of %s", role, strings.Join(Roles, ", "))
		}
		if slices.Contains(h.InRoles()[:i], role) {
			return wrong("roles", "role %s is there twice", role)
		}
	}
	switch {
	case !isAddress(h.Address):
		return wrong("address", "address is %q, want an IP address or a DNS name", h.Address)
	case !isAddress(h.PrivateAddress):
		return wrong("private_address", "private_address is %q, want an IP address or a DNS name", h.PrivateAddress)
	case h.User == "" || strings.HasPrefix(h.User, "-"):
		return wrong("user", "user is %q, want the user for SSH", h.User)
	case h.Port < 1 || h.Port > 65535:
		return wrong("port", "port is %d, want 1 to 65535", h.Port)
	case h.Jump != "" && !jumpHosts.MatchString(h.Jump):
		return wrong("jump", "jump is %q, want USER@HOST:PORT, or several of them, separated by commas", h.Jump)
	case h.SSM != nil && (h.Jump != "" || !instance.MatchString(h.SSM.Instance) || !region.MatchString(h.SSM.Region)):
		return wrong("ssm", "ssm has instance %q and region %q, want ones such as i-0123456789abcdef0 and eu-central-1, and no jump", h.SSM.Instance, h.SSM.Region)
	}
	return nil
}

// CheckVariable refuses a name that no inventory variable of a user may have.
func CheckVariable(name string) error {
	if !variableName.MatchString(name) || strings.HasPrefix(name, "troop_") || strings.HasPrefix(name, "ansible_") {
		return fmt.Errorf("vars has %q, want a name of letters, digits and underscores that does not start with troop_ or ansible_", name)
	}
	return nil
}

// isAddress rejects texts that ssh or a shell could take for an option or a command.
func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || (len(s) <= 253 && dnsName.MatchString(s))
}
