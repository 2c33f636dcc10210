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
	Name    string   `json:"name"` // of the service; empty: it was taken out, and the next new one gets its number
	Domains []string `json:"domains,omitempty"`
	Path    string   `json:"path,omitempty"` // without a slash at its end; empty: all

	// The stage that deployed it last, as TYPE.NAME, and its pipeline.
	Stage    string `json:"stage,omitempty"`
	Pipeline string `json:"pipeline,omitempty"`
}

// Requests says for people which requests are the service's.
func (r Route) Requests() string {
	if r.Rank() == 0 {
		return "all requests that no other service takes"
	}
	if len(r.Domains) == 0 {
		return "requests for " + r.Path
	}
	var all []string
	for _, domain := range r.Domains {
		all = append(all, domain+r.Path)
	}
	return "requests for " + strings.Join(all, ", ")
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
	Number int    `json:"number"` // from 0, in the order of their first deploys; it never changes
}

// Find is a service of an environment. One that the environment does not know gets the first number that is free.
func Find(all []Route, name string) (s Service, known bool) {
	at := func(name string) int { return slices.IndexFunc(all, func(r Route) bool { return r.Name == name }) }
	i := at(name)
	if known = i >= 0; !known {
		i = at("")
	}
	if i < 0 {
		i = len(all)
	}
	return Service{Name: name, Number: i}, known
}

// Without are the services without one of them. The others keep their numbers.
func Without(all []Route, name string) []Route {
	rest := slices.Clone(all)
	for i := range rest {
		if rest[i].Name == name {
			rest[i] = Route{}
		}
	}
	for len(rest) > 0 && rest[len(rest)-1].Name == "" {
		rest = rest[:len(rest)-1]
	}
	return rest
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
	if s, _ := Find(others, r.Name); s.Number >= MostServices {
		return fmt.Errorf("the environment has %d services already; deploy %s to another one", len(others), r.Name)
	}
	for _, o := range others {
		switch {
		case o.Name == r.Name, o.Name == "":
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
