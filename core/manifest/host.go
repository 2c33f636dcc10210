package manifest

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/core"
)

var hostKeyPattern = regexp.MustCompile(`^(ssh|ecdsa|sk)-\S+ AAAA[A-Za-z0-9+/]+=*( [^\n]*)?$`)

// hosts are the servers of an environment that exist already, by name.
func (l *loader) hosts(blocks []*hclsyntax.Block, s site) []core.Host {
	var hosts []core.Host
	named := map[string]*hclsyntax.Block{}
	for _, b := range blocks {
		if !l.labels(b, "NAME") {
			continue
		}
		if first := named[b.Labels[0]]; first != nil {
			l.duplicate(b, "host", first)
			continue
		}
		named[b.Labels[0]] = b
		h := l.host(b, s)
		same := slices.IndexFunc(hosts, func(o core.Host) bool {
			return o.Address == h.Address && o.Port == h.Port && o.Jump == h.Jump
		})
		if same >= 0 && h.Address != "" {
			first := string(hosts[same].Name)
			l.errorf(b.Body.Attributes["address"].Expr.Range(), "Duplicate address",
				"The host %q, at %s, has the same address and port. A server with several roles is one host: roles = [\"router\", \"production\"].",
				first, place(named[first].DefRange()))
		}
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b core.Host) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return hosts
}

// bucketKeys are the credentials of hosts for a bucket. The names of hosts that a module makes are known later.
func (l *loader) bucketKeys(blocks []*hclsyntax.Block, e core.Environment, s site) map[core.HostName]core.BucketKey {
	named := map[string]*hclsyntax.Block{}
	keys := map[core.HostName]core.BucketKey{}
	var hosts []string
	for _, h := range e.Hosts {
		hosts = append(hosts, string(h.Name))
	}
	for _, b := range blocks {
		if !l.labels(b, "HOST") {
			continue
		}
		name := b.Labels[0]
		if first := named[name]; first != nil {
			l.duplicate(b, "storage_key", first)
			continue
		}
		named[name] = b
		if e.Terraform == nil && !slices.Contains(hosts, name) {
			l.errorf(b.LabelRanges[0], "Unknown host", "The environment has no host %q.%s", shorten(name), didYouMean(name, hosts))
		}
		l.content(b.Body, &storageKeyGrammar)
		var key core.BucketKey
		for _, must := range []struct {
			name, example string
			to            *string
		}{{"id", `id = "AKIA…"`, &key.ID}, {"secret", "secret = secret.NAME", &key.Secret}} {
			a := b.Body.Attributes[must.name]
			if a == nil {
				l.missing(b, must.name, must.example)
				continue
			}
			text, ok := l.str(a, s)
			if ok && text == "" {
				l.errorf(a.Expr.Range(), "Empty text", "%q is empty.", a.Name)
			}
			if v, ok := l.value(a.Expr, s); ok && a.Name == "secret" && !v.ContainsMarked() {
				l.secrets.addValue(v)
				l.errorf(a.Expr.Range(), "Secret in the manifest", "Everybody who reads the manifest has it. Renew it, and write secret.NAME, with a secret block that says where it is kept, or env.NAME.")
			}
			*must.to = text
		}
		keys[core.HostName(name)] = key
	}
	return keys
}

func (l *loader) host(b *hclsyntax.Block, s site) core.Host {
	l.content(b.Body, &hostGrammar)
	h := core.Host{Name: core.HostName(b.Labels[0]), Given: &core.Given{}}
	given := b.Body.Attributes
	found := len(l.diags)
	for _, must := range [][2]string{{"address", `address = "203.0.113.10"`}, {"roles", `roles = ["production"]`}, {"user", `user = "deploy"`}} {
		if given[must[0]] == nil {
			l.missing(b, must[0], must[1])
		}
	}
	for name, to := range map[string]*string{
		"address": &h.Address, "private_address": &h.PrivateAddress, "user": &h.User, "host_key": &h.HostKey,
		"key": &h.Given.Key, "jump": &h.Jump,
	} {
		if a := given[name]; a != nil {
			*to, _ = l.str(a, s)
		}
	}
	for name, to := range map[string]*[]string{"roles": &h.Roles, "tags": &h.Tags} {
		if a := given[name]; a != nil {
			*to, _ = l.strs(a, s)
		}
	}
	if a := given["port"]; a != nil {
		h.Port, _ = l.integer(a, s)
	}
	if a := given["variables"]; a != nil {
		h.Vars = l.object(a, s)
		for name := range h.Vars {
			if err := core.CheckVariable(name); err != nil {
				l.errorf(entry(a.Expr, name), "Reserved variable", "%s.", err)
			}
		}
	}
	slices.Sort(h.Tags)
	if len(l.diags) > found { // one mistake is enough
		return h
	}
	l.checkHost(b, &h)
	return h
}

// checkHost completes a host and reports its first mistake.
func (l *loader) checkHost(b *hclsyntax.Block, h *core.Host) {
	at := func(name string) hcl.Range {
		if a := b.Body.Attributes[name]; a != nil {
			return a.Expr.Range()
		}
		return b.LabelRanges[0]
	}
	if len(h.Roles) == 0 {
		l.errorf(at("roles"), "Invalid host", "A host without a role does nothing. Its roles are some of %s.", allOf(core.Roles))
		return
	}
	h.Complete()
	if wrong, ok := errors.AsType[*core.HostError](h.Check()); ok {
		l.errorf(at(wrong.Attribute), "Invalid host", "Host %q: %s.", shorten(b.Labels[0]), wrong.Text)
	}
	if h.HostKey != "" {
		if !hostKeyPattern.MatchString(h.HostKey) {
			l.errorf(at("host_key"), "Invalid host key", "This is not one line of a public key. The server shows it: cat /etc/ssh/ssh_host_ed25519_key.pub.")
		}
	}
	if h.Given.Key != "" {
		h.Given.Key = l.resolve(h.Given.Key) // not everybody who uses the environment has the file
	}
}
