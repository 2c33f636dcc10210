package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Domains checks that names lead to the router: clients find it by them, and so does the authority that gives certificates.
type Domains struct {
	Names  []string
	Router string // its public address or name; empty: not known yet
	// Lookup resolves a name; nil: this machine's resolver.
	Lookup func(ctx context.Context, name string) ([]string, error)
}

// Steps are a step per name.
func (d Domains) Steps() []Step {
	var steps []Step
	for _, name := range d.Names {
		steps = append(steps, Step{Name: "dns " + name, Look: func(ctx context.Context) (string, error) { return d.look(ctx, name) }})
	}
	return steps
}

func (d Domains) look(ctx context.Context, name string) (string, error) {
	if d.Router == "" {
		return "", Skip("the router has no address yet")
	}
	lookup := d.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupHost
	}
	want, err := lookup(ctx, d.Router)
	if err != nil {
		return "", &Problem{Text: fmt.Sprintf("the router's own name %s leads nowhere: %v", d.Router, err), Remedy: "correct its address"}
	}
	record := fmt.Sprintf("set its A or AAAA record to %s", strings.Join(want, " or "))
	found, err := lookup(ctx, name)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "", &Problem{Text: "there is no such name", Remedy: record}
	case err != nil:
		return "", err
	case !slices.ContainsFunc(found, func(a string) bool { return slices.Contains(want, a) }):
		return "", &Problem{Text: fmt.Sprintf("leads to %s, and the router is %s", strings.Join(found, ", "), strings.Join(want, ", ")), Remedy: record}
	}
	return "leads to " + strings.Join(found, ", "), nil
}
