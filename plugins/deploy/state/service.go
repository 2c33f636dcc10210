package state

import (
	"fmt"
	"slices"
	"strings"
)

// KeyServices is the key of the environment's services. The stage writes it before the first deploy of a service.
const KeyServices = "services"

// MostServices is how many services an environment may have: as many have ports.
const MostServices = 10

// Route says which requests are a service's: those for one of the domains, if it has any, with the path or one below it.
type Route struct {
	Name    string   `json:"name"` // of the service
	Domains []string `json:"domains,omitempty"`
	Path    string   `json:"path,omitempty"` // without a slash at its end; empty: all
}

// Clash reports whether two services want the same requests, and neither's are the more specific ones.
func (r Route) Clash(o Route) bool {
	shared := len(r.Domains)+len(o.Domains) == 0 || slices.ContainsFunc(r.Domains, func(d string) bool { return slices.Contains(o.Domains, d) })
	return shared && r.Path == o.Path
}

// Rank orders routes: a request belongs to the one with the highest rank of those that fit.
func (r Route) Rank() int {
	if len(r.Domains) > 0 {
		const longestPath = 1000
		return longestPath + len(r.Path)
	}
	return len(r.Path)
}

// Service is one of the services of an environment. They share hosts and router, and nothing else: each has ports, units, pools,
// weights, a record and an agent of its own. The names of what the first one has on the router and in the shared state do not name it.
type Service struct {
	Name   string `json:"name"`
	Number int    `json:"number"` // from 0, in the order of their first deploys
}

// Find is a service of an environment. It is new if the environment does not know it.
func Find(all []Route, name string) Service {
	i := slices.IndexFunc(all, func(r Route) bool { return r.Name == name })
	if i < 0 {
		i = len(all)
	}
	return Service{Name: name, Number: i}
}

// Label is the service's name on the router; empty for the first one.
func (s Service) Label() string {
	if s.Number == 0 {
		return ""
	}
	return s.Name
}

// Key is a key of the shared state that each service has.
func (s Service) Key(key string) string { return s.Prefix() + key }

// Prefix is that of its backends and its keys.
func (s Service) Prefix() string {
	if s.Number == 0 {
		return ""
	}
	return s.Name + "."
}

// Check refuses a service that the environment cannot have beside those that it has. One of them may name neither domains nor
// path: it gets the requests that no other takes.
func (r Route) Check(others []Route, programs []Program) error {
	if Find(others, r.Name).Number >= MostServices {
		return fmt.Errorf("the environment has %d services already; deploy %s to another one", len(others), r.Name)
	}
	for _, o := range others {
		switch {
		case o.Name == r.Name:
			continue
		case r.Clash(o) && r.Rank() == 0:
			return fmt.Errorf("%s gets the requests that no other service takes; say which are those of %s: domains = [\"%s.example.com\"] or path = \"/%s\" in the service block",
				o.Name, r.Name, r.Name, r.Name)
		case r.Clash(o):
			return fmt.Errorf("the service %s has the same domains and path; the router could not tell the requests of %s from its", o.Name, r.Name)
		}
		for _, p := range programs {
			if slices.Contains(p.Names(), strings.TrimPrefix(o.Name, r.Name+"-")) {
				return fmt.Errorf("the units of the program %s would have the names of those of the service %s; rename one", p.Name, o.Name)
			}
		}
	}
	return nil
}
