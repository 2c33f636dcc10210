package terraform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/seed-b96de936/troop/core"
)

// output is the name of the output that every root module must have.
const output = "hosts"

// ErrNoHosts: nothing was applied yet, or everything was destroyed.
var ErrNoHosts = errors.New("there are no hosts")

// Hosts returns the hosts of the last apply, sorted by name, or ErrNoHosts. It reads only the state.
func (w *Workspace) Hosts(ctx context.Context) ([]core.Host, error) {
	var outputs map[string]tfexec.OutputMeta
	err := w.run(ctx, func(tf *tfexec.Terraform) (err error) {
		outputs, err = tf.Output(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read outputs: %w", err)
	}
	hosts, ok := outputs[output]
	if !ok {
		return nil, ErrNoHosts
	}
	return ParseHosts(hosts.Value)
}

// tags is decoded from a list of names, or from a map, whose pairs become key=value.
type tags []string

type tagsError string

func (e tagsError) Error() string { return string(e) }

func (t *tags) UnmarshalJSON(b []byte) error {
	var pairs map[string]string
	if json.Unmarshal(b, &pairs) == nil {
		for key, value := range pairs {
			*t = append(*t, key+"="+value)
		}
	} else if json.Unmarshal(b, (*[]string)(t)) != nil {
		return tagsError("tags is neither a set of strings nor a map of strings")
	}
	slices.Sort(*t)
	*t = slices.Compact(*t)
	return nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

var roles = []string{"production", "canary", "router", "storage"}

// ParseHosts decodes the output "hosts" of a root module from JSON. Its error lists all mistakes at once; ErrNoHosts if
// there are no hosts.
func ParseHosts(value []byte) ([]core.Host, error) {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(value, &entries); err != nil {
		return nil, fmt.Errorf("output %q: want a map of host name to object", output)
	}
	if len(entries) == 0 {
		return nil, ErrNoHosts
	}
	var hosts []core.Host
	var problems []error
	for name, entry := range entries {
		host, err := parseHost(name, entry)
		if err != nil {
			problems = append(problems, fmt.Errorf("output %q: host %q: %w", output, name, err))
			continue
		}
		hosts = append(hosts, host)
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(problems...)
	}
	slices.SortFunc(hosts, func(a, b core.Host) int { return cmp.Compare(a.Name, b.Name) })
	return hosts, nil
}

func parseHost(name string, entry []byte) (core.Host, error) {
	var whole struct {
		core.Host
		Tags tags `json:"tags"`
	}
	err := json.Unmarshal(entry, &whole)
	h := whole.Host
	if err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
			return h, fmt.Errorf("%s has the wrong type: %s", strings.TrimPrefix(wrong.Field, "Host."), wrong.Value)
		} else if wrong, ok := errors.AsType[tagsError](err); ok {
			return h, wrong
		}
		return h, errors.New("want an object")
	}
	h.Tags = whole.Tags
	h.Name = core.HostName(name)
	h.Port = cmp.Or(h.Port, 22)
	h.PrivateAddress = cmp.Or(h.PrivateAddress, h.Address)
	h.HostKey = strings.TrimSpace(h.HostKey)
	for name := range h.Vars {
		if !variableName.MatchString(name) || strings.HasPrefix(name, "troop_") || strings.HasPrefix(name, "ansible_") {
			return h, fmt.Errorf("vars has %q, want a name of letters, digits and underscores that does not start with troop_ or ansible_", name)
		}
	}
	switch {
	case !hostName.MatchString(name):
		return h, errors.New("a name is lower-case letters, digits and dashes")
	case !slices.Contains(roles, h.Role):
		return h, fmt.Errorf("role is %q, want one of %s", h.Role, strings.Join(roles, ", "))
	case !isAddress(h.Address):
		return h, fmt.Errorf("address is %q, want an IP address or a DNS name", h.Address)
	case !isAddress(h.PrivateAddress):
		return h, fmt.Errorf("private_address is %q, want an IP address or a DNS name", h.PrivateAddress)
	case h.User == "" || strings.HasPrefix(h.User, "-"):
		return h, fmt.Errorf("user is %q, want the user for SSH", h.User)
	case h.Port < 1 || h.Port > 65535:
		return h, fmt.Errorf("port is %d, want 1 to 65535", h.Port)
	}
	return h, nil
}

var dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// isAddress rejects texts that ssh or a shell could take for an option or a command.
func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || (len(s) <= 253 && dnsName.MatchString(s))
}
