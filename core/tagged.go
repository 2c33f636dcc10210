package core

import (
	"cmp"
	"slices"
	"strings"
)

// Tagged is a resource at a cloud provider that carries the tag of an environment, or that hangs on such a resource and can
// have no tags, such as a route. A state may know it or not.
type Tagged struct {
	Type   string            `json:"type"`             // Terraform's, such as aws_vpc; the provider's name if troop knows no other
	ID     string            `json:"id"`               // the provider's
	Import string            `json:"import,omitempty"` // by which Terraform takes it into a state; empty: it cannot
	Values map[string]string `json:"values,omitempty"` // the attributes by which a state or a plan knows it
	Tags   map[string]string `json:"tags,omitempty"`   // nil: it hangs on another resource, which Values names
}

// Data reports whether it holds data that nothing else has.
func (t Tagged) Data() bool { return t.Tags["troop:data"] != "" }

// String is its type, ID and name: a key pair has one besides its tags.
func (t Tagged) String() string {
	id, name := cmp.Or(t.ID, t.Import), cmp.Or(t.Tags["Name"], t.Import)
	if name == id {
		return t.Type + " " + id
	}
	return strings.TrimSpace(t.Type + " " + id + " " + name)
}

// CompareTagged sorts by type and ID.
func CompareTagged(a, b Tagged) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
}

// On reports whether it hangs on one of others.
func (t Tagged) On(others []Tagged) bool {
	return t.Tags == nil && slices.ContainsFunc(others, func(o Tagged) bool {
		for _, v := range t.Values {
			if v == o.ID {
				return true
			}
		}
		return false
	})
}
