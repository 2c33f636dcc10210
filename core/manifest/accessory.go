package manifest

import (
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/core"
)

// accessoryTypes are the kinds of accessories, with the variable and the port that they have if the manifest says none.
var accessoryTypes = map[string]core.Accessory{
	"postgres": {Env: "DATABASE_URL", Port: 15432},
	"redis":    {Env: "REDIS_URL", Port: 16379},
}

var (
	// servicePattern is what the plugin deploy takes as a service's name.
	servicePattern  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	variablePattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	// systemDatabases are PostgreSQL's own.
	systemDatabases = []string{"postgres", "template0", "template1"}
)

// accessories are the databases of an environment's services.
func (l *loader) accessories(blocks []*hclsyntax.Block, s site) (all []core.Accessory) {
	for _, b := range blocks {
		if !l.labels(b, "TYPE") {
			continue
		}
		l.content(b.Body, &accessoryGrammar)
		typ := b.Labels[0]
		c, known := accessoryTypes[typ]
		if !known {
			l.errorf(b.LabelRanges[0], "Unknown accessory", "%q is neither postgres nor redis.%s", shorten(typ), didYouMean(typ, []string{"postgres", "redis"}))
			continue
		}
		c.Type = typ
		given := b.Body.Attributes
		if given["service"] == nil {
			l.missing(b, "service", `service = "shop"`)
			continue
		}
		found := len(l.diags)
		c.Service, _ = l.str(given["service"], s)
		if a := given["env"]; a != nil {
			c.Env, _ = l.str(a, s)
		}
		if a := given["port"]; a != nil {
			c.Port, _ = l.integer(a, s)
		}
		if len(l.diags) == found && l.accessory(b, c, all) {
			all = append(all, c)
		}
	}
	return all
}

// accessory reports the first mistake in one. before are those of the blocks above.
func (l *loader) accessory(b *hclsyntax.Block, c core.Accessory, before []core.Accessory) bool {
	at := func(name string) hcl.Range {
		if a := b.Body.Attributes[name]; a != nil {
			return a.Expr.Range()
		}
		return b.DefRange()
	}
	same := func(of func(o core.Accessory) bool) bool { return slices.ContainsFunc(before, of) }
	switch {
	case !servicePattern.MatchString(c.Service):
		l.errorf(at("service"), "Invalid service", "%q names no service: small letters, digits and dashes, at most 31 of them.", shorten(c.Service))
	case c.Type == "postgres" && slices.Contains(systemDatabases, c.Service):
		l.errorf(at("service"), "Invalid service", "PostgreSQL has a database %q of its own. Give the service another name.", c.Service)
	case !variablePattern.MatchString(c.Env):
		l.errorf(at("env"), "Invalid variable", "%q is no name of a variable, such as DATABASE_URL.", shorten(c.Env))
	case c.Type == "postgres" && b.Body.Attributes["port"] != nil:
		l.errorf(at("port"), "Invalid port", "All databases are in one PostgreSQL, whose port is in the URL. Leave it out.")
	case c.Port < 1024 || c.Port > 65535:
		l.errorf(at("port"), "Invalid port", "%q wants 1024 to 65535, got %d.", "port", c.Port)
	case same(func(o core.Accessory) bool { return o.Type == c.Type && o.Service == c.Service }):
		l.errorf(b.DefRange(), "Duplicate accessory", "The service %s has one of type %s already.", c.Service, c.Type)
	case same(func(o core.Accessory) bool { return o.Service == c.Service && o.Env == c.Env }):
		l.errorf(at("env"), "Duplicate variable", "Another accessory of the service %s has its URL in %s. Choose another name: env = \"…\".", c.Service, c.Env)
	case same(func(o core.Accessory) bool { return o.Port == c.Port && (o.Type != "postgres" || c.Type != "postgres") }):
		l.errorf(at("port"), "Duplicate port", "Another accessory has port %d. Choose another one: port = %d.", c.Port, c.Port+1)
	default:
		return true
	}
	return false
}

// placed reports accessories that nothing makes, or that have no host. The hosts of a module are known only when they were made.
func (l *loader) placed(blocks []*hclsyntax.Block, e core.Environment) {
	if len(blocks) == 0 {
		return
	}
	if e.Ansible == nil {
		l.errorf(blocks[0].DefRange(), "No place for an accessory", "Environment %s has no playbook that makes it. Write: ansible { playbook = \"site.yml\" }.", e.Name)
	}
	if e.Terraform != nil {
		return
	}
	if _, err := core.DataHost(e.Hosts); err != nil {
		l.errorf(blocks[0].DefRange(), "No place for an accessory", "In environment %s, %s. Give one host roles = [\"data\"].", e.Name, err)
	}
}
