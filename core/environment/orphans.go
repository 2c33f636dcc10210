package environment

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/preflight"
	"github.com/seed-b96de936/troop/core/terraform"
)

// awsProvider ends the source address of the provider whose resources troop can find by their tags.
const awsProvider = "/hashicorp/aws"

// ec2 returns the account of an environment on EC2; false: its module does not use that provider.
func (e *Environment) ec2(module fs.FS) (preflight.EC2, bool, error) {
	sources, err := terraform.Required(module)
	if err != nil || !slices.ContainsFunc(sources, func(s string) bool { return strings.HasSuffix("/"+s, awsProvider) }) {
		return preflight.EC2{}, false, err
	}
	variables, err := terraform.Values(module, e.conf.Terraform.Variables)
	return preflight.EC2{Environment: e.conf.Name, Variables: variables}, err == nil, err
}

// tagged returns what lists the resources with the environment's tags, or nil.
func (e *Environment) tagged(module fs.FS) (func(context.Context) ([]core.Tagged, error), error) {
	account, ok, err := e.ec2(module)
	if !ok {
		return nil, err
	}
	return account.Tagged, nil
}

// Orphans lists the resources with the environment's tags that are in no state: those with the given IDs, or all. Those to
// remove hold data only if their ID is given.
func (e *Environment) Orphans(ctx context.Context, ids []string, removing bool) (Orphans, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	all, err := w.Orphans(ctx)
	if err != nil {
		return nil, err
	}
	return selected(all, ids, removing)
}

// Adopt saves a plan that takes orphans into the state.
func (e *Environment) Adopt(ctx context.Context) (*terraform.Plan, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.Adopt(ctx)
}

// Orphans is a list of resources that are in no state.
type Orphans []core.Tagged

// Lines is the list for people.
func (o Orphans) Lines() []string {
	if len(o) == 0 {
		return []string{"every resource with the tags of the environment is in the state"}
	}
	lines := make([]string, len(o))
	for i, x := range o {
		lines[i] = x.String()
	}
	return lines
}

func selected(orphans []core.Tagged, ids []string, removing bool) (Orphans, error) {
	for _, id := range ids {
		if !slices.ContainsFunc(orphans, func(o core.Tagged) bool { return o.ID == id }) {
			return nil, &core.NotFoundError{What: "resource in no state", Name: id, Remedy: "troop state orphans lists them"}
		}
	}
	return slices.DeleteFunc(append(Orphans{}, orphans...), func(o core.Tagged) bool {
		return len(ids) == 0 && removing && o.Data() || len(ids) > 0 && !slices.Contains(ids, o.ID)
	}), nil
}

// RemoveOrphans removes orphans for good, while it keeps others out. done is called after each. Without ids it goes on with
// what has come since the list was made, such as the answer to the last request of a killed apply.
func (e *Environment) RemoveOrphans(ctx context.Context, list Orphans, ids []string, done func(core.Tagged)) error {
	release, err := e.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = release() }()
	module, err := openModule(e.conf.Terraform)
	if err != nil {
		return err
	}
	account, ok, err := e.ec2(module)
	if !ok {
		return err
	}
	remove := func(list Orphans) error { return account.Remove(ctx, list, done) }
	if len(ids) > 0 {
		return remove(list)
	}
	return untilNone(list, remove, func() (Orphans, error) { return e.Orphans(ctx, nil, true) })
}

// untilNone removes a list, and then what again lists that was not tried yet.
func untilNone(list Orphans, remove func(Orphans) error, again func() (Orphans, error)) error {
	tried := map[string]bool{}
	for len(list) > 0 {
		if err := remove(list); err != nil {
			return err
		}
		for _, o := range list {
			tried[o.ID] = true
		}
		more, err := again()
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(more, func(o core.Tagged) bool { return tried[o.ID] })
	}
	return nil
}
