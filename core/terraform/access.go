package terraform

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// Rule is a rule of a security group as a sentence, such as "0.0.0.0/0 may reach router-1 on 80/tcp".
type Rule struct {
	Action Action `json:"action"` // create or destroy
	Text   string `json:"text"`
}

// network names the security groups of a plan by the hosts that are in them.
type network struct {
	groups  map[string]string   // by ID and by address
	members map[string][]string // hosts by such a name
	written configuration
}

// networkOf finds out which hosts are in which group. The tag troop:role of a group names roles, or all; without it the
// instances tell, once their groups are known; else the group's own name has to do.
func networkOf(shown *tfjson.Plan, roles map[string]string) network {
	n := network{groups: map[string]string{}, members: map[string][]string{}, written: configurationOf(shown.Config)}
	members := map[string][]string{}
	all := slices.Concat(shown.ResourceChanges, shown.ResourceDrift)
	for _, r := range all {
		host, _ := hostOf(r.Address, roles)
		if r.Type != "aws_instance" || host == "" {
			continue
		}
		for _, values := range []any{r.Change.Before, r.Change.After} {
			for _, id := range array(object(values)["vpc_security_group_ids"]) {
				if id, ok := id.(string); ok && !slices.Contains(members[id], string(host)) {
					members[id] = append(members[id], string(host))
				}
			}
		}
	}
	for _, r := range all {
		if r.Type != "aws_security_group" {
			continue
		}
		for _, values := range []map[string]any{object(r.Change.Before), object(r.Change.After)} {
			if values == nil {
				continue
			}
			id, _ := values["id"].(string)
			who, hosts := groupName(r.Address, values, members[id], roles)
			n.groups[r.Address], n.members[who] = who, hosts
			if id != "" {
				n.groups[id] = who
			}
		}
	}
	return n
}

// groupName is how people call the hosts in a group, and these hosts.
func groupName(address string, values map[string]any, members []string, roles map[string]string) (string, []string) {
	tags := object(values["tags"])
	role, _ := tags["troop:role"].(string)
	if role == "all" {
		return "every host", slices.Sorted(maps.Keys(roles))
	}
	if wanted := strings.Fields(role); len(wanted) > 0 {
		members = nil
		for name, role := range roles {
			if slices.Contains(wanted, role) {
				members = append(members, name)
			}
		}
		if len(members) == 0 {
			return "hosts of role " + list(wanted), nil
		}
	}
	if slices.Sort(members); len(members) > 0 {
		return list(members), members
	}
	for _, name := range []any{tags["Name"], values["name"]} {
		if name, ok := name.(string); ok && name != "" {
			return "group " + name, nil
		}
	}
	return address, nil
}

// reach says that one may reach another: by an incoming rule of the other, or an outgoing one of its own.
type reach struct {
	from, to, ports string
	own             bool // to is the rest of the group that from is
	out             bool // an outgoing rule
}

func (r reach) String() string {
	switch {
	case r.own && r.out:
		return fmt.Sprintf("%s may reach the others of its group on %s (outgoing)", r.from, r.ports)
	case r.own:
		return fmt.Sprintf("%s may reach the others of its group on %s", r.from, r.ports)
	}
	return fmt.Sprintf("%s may reach %s on %s", r.from, r.to, r.ports)
}

// rules are the sentences that a change of a group, or of a resource that is one rule, takes away or adds.
func (n network) rules(r *tfjson.ResourceChange) []Rule {
	before, after := n.reaches(r, r.Change.Before), n.reaches(r, r.Change.After)
	var all []Rule
	for _, s := range before {
		if !slices.Contains(after, s) {
			all = append(all, Rule{Destroy, s.String()})
		}
	}
	for _, s := range after {
		if !slices.Contains(before, s) {
			all = append(all, Rule{Create, s.String()})
		}
	}
	return all
}

// reaches lists who may reach whom by a group, or by a resource that is one rule, with these values.
func (n network) reaches(r *tfjson.ResourceChange, values any) []reach {
	v := object(values)
	if v == nil {
		return nil
	}
	var all []reach
	switch r.Type {
	case "aws_security_group":
		who := n.groups[r.Address]
		for _, direction := range []string{"ingress", "egress"} {
			other := n.only(r.Address, direction)
			for _, rule := range array(v[direction]) {
				all = append(all, n.rule(who, direction == "egress", object(rule), other)...)
			}
		}
	case "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule", "aws_security_group_rule":
		who := n.named(v["security_group_id"], n.only(r.Address, "security_group_id"))
		rule := maps.Clone(v)
		for of, list := range map[string]string{"cidr_ipv4": "cidr_blocks", "cidr_ipv6": "ipv6_cidr_blocks", "prefix_list_id": "prefix_list_ids", "referenced_security_group_id": "security_groups", "source_security_group_id": "security_groups"} {
			if one, ok := v[of].(string); ok && one != "" {
				rule[list] = []any{one}
			}
		}
		if p, ok := v["ip_protocol"]; ok {
			rule["protocol"] = p
		}
		other := ""
		for _, reference := range []string{"referenced_security_group_id", "source_security_group_id"} {
			if n.written[plainAddress(r.Address)][reference] != nil && v[reference] == nil {
				other = n.only(r.Address, reference)
			}
		}
		if other != "" {
			delete(rule, "security_groups") // not known yet
		} else if rule["security_groups"] == nil {
			rule["security_groups"] = []any{}
		}
		all = n.rule(who, r.Type == "aws_vpc_security_group_egress_rule" || v["type"] == "egress", rule, other)
	}
	slices.SortFunc(all, func(a, b reach) int { return cmp.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}

// rule says who may reach whom by one rule: one per peer. other is the group meant by a reference that is not known
// before the apply.
func (n network) rule(who string, out bool, rule map[string]any, other string) []reach {
	var peers []string
	for _, name := range []string{"cidr_blocks", "ipv6_cidr_blocks", "prefix_list_ids"} {
		for _, peer := range array(rule[name]) {
			if s, ok := peer.(string); ok {
				peers = append(peers, s)
			}
		}
	}
	groups, known := rule["security_groups"]
	if !known {
		peers = append(peers, n.named(nil, other))
	}
	for _, id := range array(groups) {
		peers = append(peers, n.named(id, other))
	}
	var all []reach
	for _, peer := range peers {
		from, to := peer, who
		if out {
			from, to = who, peer
		}
		all = append(all, reach{from: from, to: to, ports: ports(rule), out: out})
	}
	if self, _ := rule["self"].(bool); self {
		all = append(all, reach{from: who, to: who, ports: ports(rule), own: true, out: out})
	}
	return all
}

// named is who is in a group, given its ID, or its address if the ID is not known yet.
func (n network) named(id any, address string) string {
	if id, ok := id.(string); ok && id != "" {
		if who, ok := n.groups[id]; ok {
			return who
		}
		return "group " + id
	}
	if who, ok := n.groups[address]; ok {
		return who
	}
	return "another group"
}

// only returns the security group that an expression refers to, if it refers to no other.
func (n network) only(address, attribute string) string {
	e := n.written[plainAddress(address)][attribute]
	if e == nil || e.ExpressionData == nil {
		return ""
	}
	found := ""
	for _, reference := range e.References {
		if rest, ok := strings.CutPrefix(reference, "aws_security_group."); ok && !strings.ContainsAny(rest, ".") {
			if found != "" && found != reference {
				return ""
			}
			found = reference
		}
	}
	return found
}

// ports are a rule's ports and protocol, such as 80/tcp.
func ports(rule map[string]any) string {
	protocol, _ := rule["protocol"].(string)
	from, to := figure(rule, "from_port"), figure(rule, "to_port")
	switch {
	case protocol == "-1" || protocol == "all":
		return "any port"
	case strings.HasPrefix(protocol, "icmp"):
		return protocol
	case from == to:
		return from + "/" + protocol
	}
	return from + "-" + to + "/" + protocol
}
