package terraform

import (
	"errors"
	"reflect"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

func TestParseHosts(t *testing.T) {
	got, err := ParseHosts([]byte(`{
	  "web-1": {"role": "production", "address": "203.0.113.7", "private_address": "10.0.0.7", "user": "admin", "port": 2222, "host_key": "ssh-ed25519 AAAA\n"},
	  "router-1": {"role": "router", "address": "router.example.com", "user": "root", "extra": true, "tags": ["edge", "blue", "edge"], "vars": {}},
	  "web-2": {"role": "production", "address": "10.0.0.8", "user": "root", "tags": {"team": "shop", "tier": "1"}, "vars": {"nginx_workers": 4, "motd": "{{ x }}"}},
	  "z-1": {"roles": ["canary", "production", "router"], "address": "10.0.0.9", "user": "root", "given": {"key": "/etc/passwd"}},
	  "z-2": {"roles": ["canary", "storage", "production"], "address": "10.0.0.10", "user": "root"}
	}`))
	want := []core.Host{
		{Name: "router-1", Role: "router", Address: "router.example.com", PrivateAddress: "router.example.com", User: "root", Port: 22, Tags: []string{"blue", "edge"}, Vars: map[string]any{}},
		{Name: "web-1", Role: "production", Address: "203.0.113.7", PrivateAddress: "10.0.0.7", User: "admin", Port: 2222, HostKey: "ssh-ed25519 AAAA"},
		{
			Name: "web-2", Role: "production", Address: "10.0.0.8", PrivateAddress: "10.0.0.8", User: "root", Port: 22,
			Tags: []string{"team=shop", "tier=1"}, Vars: map[string]any{"nginx_workers": 4.0, "motd": "{{ x }}"},
		},
		{Name: "z-1", Role: "router", Roles: []string{"canary", "production", "router"}, Address: "10.0.0.9", PrivateAddress: "10.0.0.9", User: "root", Port: 22},
		{Name: "z-2", Role: "production", Roles: []string{"canary", "storage", "production"}, Address: "10.0.0.10", PrivateAddress: "10.0.0.10", User: "root", Port: 22},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseBadHosts(t *testing.T) {
	tests := map[string]struct{ value, want string }{
		"a list":           {`[]`, `output "hosts": want a map of host name to object`},
		"a text":           {`{"web-1": "10.0.0.7"}`, `output "hosts": host "web-1": want an object`},
		"wrong type":       {`{"web-1": {"role": "router", "address": "a", "user": "root", "port": "22"}}`, `output "hosts": host "web-1": port has the wrong type: string`},
		"no role":          {`{"web-1": {"address": "10.0.0.7", "user": "root"}}`, `output "hosts": host "web-1": role is "", want one of production, canary, router, storage, data`},
		"one role twice":   {`{"web-1": {"roles": ["router", "router"], "address": "10.0.0.7", "user": "root"}}`, `output "hosts": host "web-1": role router is there twice`},
		"no address":       {`{"web-1": {"role": "router", "user": "root"}}`, `output "hosts": host "web-1": address is "", want an IP address or a DNS name`},
		"option for ssh":   {`{"web-1": {"role": "router", "user": "root", "address": "-oProxyCommand=x"}}`, `output "hosts": host "web-1": address is "-oProxyCommand=x", want an IP address or a DNS name`},
		"user is option":   {`{"web-1": {"role": "router", "user": "-l", "address": "a"}}`, `output "hosts": host "web-1": user is "-l", want the user for SSH`},
		"tags is a text":   {`{"web-1": {"role": "router", "user": "root", "address": "a", "tags": "blue"}}`, `output "hosts": host "web-1": tags is neither a set of strings nor a map of strings`},
		"vars is a list":   {`{"web-1": {"role": "router", "user": "root", "address": "a", "vars": []}}`, `output "hosts": host "web-1": vars has the wrong type: array`},
		"taken variable":   {`{"web-1": {"role": "router", "user": "root", "address": "a", "vars": {"ansible_host": "b"}}}`, `output "hosts": host "web-1": vars has "ansible_host", want a name of letters, digits and underscores that does not start with troop_ or ansible_`},
		"no variable":      {`{"web-1": {"role": "router", "user": "root", "address": "a", "vars": {"a-b": 1}}}`, `output "hosts": host "web-1": vars has "a-b", want a name of letters, digits and underscores that does not start with troop_ or ansible_`},
		"name is a path":   {`{"../x": {"role": "router", "user": "root", "address": "a"}}`, `output "hosts": host "../x": a name is lower-case letters, digits and dashes`},
		"everything wrong": {`{"b": {}, "a": 1}`, "output \"hosts\": host \"a\": want an object\noutput \"hosts\": host \"b\": role is \"\", want one of production, canary, router, storage, data"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseHosts([]byte(tt.value)); err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	if _, err := ParseHosts([]byte(`{}`)); !errors.Is(err, ErrNoHosts) {
		t.Errorf("empty map: %v", err)
	}
}
