package terraform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	h.Name, h.Given = core.HostName(name), nil
	h.Complete()
	for name := range h.Vars {
		if err := core.CheckVariable(name); err != nil {
			return h, err
		}
	}
	return h, h.Check()
}
