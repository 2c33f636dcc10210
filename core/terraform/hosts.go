package terraform

import (
	"bytes"
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

// output is the one thing that makes a root module an environment.
const output = "hosts"

// ErrNoHosts says that nothing was applied yet, or that everything was destroyed.
var ErrNoHosts = errors.New("there are no hosts")

// Hosts returns the hosts as the last apply left them, by name, or ErrNoHosts. It looks at the state alone.
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

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

var roles = []string{"production", "canary", "router", "storage"}

// ParseHosts reads the output "hosts" of a root module from JSON. Everything that is wrong with it is said at once;
// no hosts at all are ErrNoHosts.
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
	var h core.Host
	dec := json.NewDecoder(bytes.NewReader(entry))
	if err := dec.Decode(&h); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return h, fmt.Errorf("%s is a %s", wrong.Field, wrong.Value)
		}
		return h, errors.New("want an object")
	}
	h.Name = core.HostName(name)
	h.Port = cmp.Or(h.Port, 22)
	h.PrivateAddress = cmp.Or(h.PrivateAddress, h.Address)
	h.HostKey = strings.TrimSpace(h.HostKey)
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
		return h, fmt.Errorf("user is %q, want who logs in over SSH", h.User)
	case h.Port < 1 || h.Port > 65535:
		return h, fmt.Errorf("port is %d, want 1 to 65535", h.Port)
	}
	return h, nil
}

var dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// isAddress keeps out what could be read as an option or a command further on.
func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || (len(s) <= 253 && dnsName.MatchString(s))
}
