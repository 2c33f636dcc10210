package ansible

import (
	"encoding/json"
	"fmt"

	"github.com/seed-b96de936/troop/core"
)

// group is a group of an inventory, in the form of Ansible's yaml plugin.
type group struct {
	Hosts    map[string]map[string]any `json:"hosts,omitempty"`
	Children map[string]*group         `json:"children,omitempty"`
}

// inventory lists the hosts under a group per role; app holds those that serve the application.
func inventory(hosts []core.Host) ([]byte, error) {
	all := &group{Hosts: map[string]map[string]any{}, Children: map[string]*group{}}
	for _, role := range []string{"production", "canary", "router", "storage"} {
		all.Children[role] = &group{Hosts: map[string]map[string]any{}}
	}
	all.Children["app"] = &group{Children: map[string]*group{"production": {}, "canary": {}}}
	for _, h := range hosts {
		name := string(h.Name)
		if _, twice := all.Hosts[name]; twice {
			return nil, fmt.Errorf("write inventory: two hosts are named %s", name)
		}
		vars := map[string]any{
			"ansible_host":               h.Address,
			"ansible_user":               h.User,
			"ansible_python_interpreter": "/usr/bin/python3",
			"troop_role":                 h.Role,
			"troop_private_address":      h.PrivateAddress,
		}
		if h.Port != 0 {
			vars["ansible_port"] = h.Port
		}
		if h.User != "root" {
			vars["ansible_become"] = true
		}
		all.Hosts[name] = vars
		if all.Children[h.Role] == nil {
			all.Children[h.Role] = &group{Hosts: map[string]map[string]any{}}
		}
		all.Children[h.Role].Hosts[name] = map[string]any{}
	}
	b, err := json.MarshalIndent(map[string]*group{"all": all}, "", "  ")
	return append(b, '\n'), err
}
