package ansible

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/seed-b96de936/troop/core"
)

// group is an inventory group in the format of Ansible's yaml plugin.
type group struct {
	Hosts    map[string]map[string]any `json:"hosts,omitempty"`
	Children map[string]*group         `json:"children,omitempty"`
}

// inventory groups the hosts by role and by tag; the group app holds those that serve the application. Values are never
// templates, as in extraVars.
func inventory(hosts []core.Host) ([]byte, error) {
	all := &group{Hosts: map[string]map[string]any{}, Children: map[string]*group{}}
	for _, role := range core.Roles {
		all.Children[role] = &group{Hosts: map[string]map[string]any{}}
	}
	all.Children["app"] = &group{Children: map[string]*group{"production": {}, "canary": {}}}
	for _, h := range hosts {
		name := string(h.Name)
		if _, twice := all.Hosts[name]; twice {
			return nil, fmt.Errorf("write inventory: two hosts are named %s", name)
		}
		vars := map[string]any{}
		maps.Copy(vars, h.Vars)
		maps.Copy(vars, map[string]any{
			"ansible_host":               h.Address,
			"ansible_user":               h.User,
			"ansible_python_interpreter": "/usr/bin/python3",
			"troop_role":                 h.Role,
			"troop_private_address":      h.PrivateAddress,
		})
		if h.Given != nil {
			vars["troop_given"] = true
		}
		if h.Port != 0 {
			vars["ansible_port"] = h.Port
		}
		if h.User != "root" {
			vars["ansible_become"] = true
		}
		all.Hosts[name] = vars
		groups := slices.Clone(h.InRoles())
		for _, tag := range h.Tags {
			groups = append(groups, tagGroup(tag))
		}
		for _, g := range groups {
			if all.Children[g] == nil {
				all.Children[g] = &group{Hosts: map[string]map[string]any{}}
			}
			all.Children[g].Hosts[name] = map[string]any{}
		}
	}
	return toYAML(map[string]*group{"all": all}, pretty)
}

var noGroup = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// tagGroup returns the group of a tag: tag_NAME, or tag_KEY_VALUE.
func tagGroup(tag string) string { return "tag_" + noGroup.ReplaceAllString(tag, "_") }
