package main

import (
	"strings"
	"testing"
)

// TestOtherRuntimeIsRefused deploys what was built with another version than the hosts have: nothing changes.
func TestOtherRuntimeIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ command, built, hosts, declared, want string }{
		"same":               {built: "node 20.19.2", hosts: "v20.11.0"},
		"other":              {built: "node 20.19.2", hosts: "v18.20.4", want: "the release was built with node 20: canary-1 has 18.20.4; web-1 has 18.20.4; build it with"},
		"declared":           {built: "node 20.19.2", hosts: "v18.20.4", declared: `["18"]`},
		"another declared":   {built: "node 20.19.2", hosts: "v18.20.4", declared: `["22"]`, want: "canary-1 has 18.20.4"},
		"only declared":      {hosts: "v18.20.4", declared: `["22"]`, want: "the release runs on node 22: canary-1 has 18.20.4"},
		"another program":    {built: "python3 3.11.2", hosts: "v18.20.4"},
		"Python":             {command: "python3", built: "node 20.19.2, python3 3.12.1", hosts: "Python 3.11.2", want: "built with python3 3.12: canary-1 has 3.11.2"},
		"nothing is known":   {hosts: "v18.20.4"},
		"not on these hosts": {built: "node 20.19.2", hosts: "", want: "canary-1 has none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, oneEach)
			s.built, s.runtime = tt.built, tt.hosts
			if tt.declared != "" {
				s.inService("runtime = " + tt.declared)
			}
			if tt.command != "" {
				s.manifest = strings.Replace(s.manifest, `"node"`, `"`+tt.command+`"`, 1)
			}
			r := s.deploy(artifact1)
			switch {
			case tt.want == "" && r.Err != nil:
				t.Error(r.Err)
			case tt.want == "":
			case r.Err == nil || !strings.Contains(r.Err.Error(), tt.want):
				t.Errorf("got %v, want %q", r.Err, tt.want)
			case len(s.fake.Playbooks()) != 1:
				t.Errorf("%d playbooks ran, want the question alone", len(s.fake.Playbooks()))
			}
		})
	}
}
