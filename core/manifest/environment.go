package manifest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/core"
)

// maxEnvironment in bytes: the name is a part of machine, network and file names.
const maxEnvironment = 32

// programs make the hosts from a module.
var programs = []string{"terraform", "tofu"}

// changes are what a review can forbid.
var changes = []string{"create", "update", "replace", "destroy"}

// declareEnvironments takes the names: other blocks refer to them.
func (l *loader) declareEnvironments(blocks []*hclsyntax.Block) {
	first := map[string]*hclsyntax.Block{}
	for _, b := range blocks {
		if !l.labels(b, "NAME") {
			continue
		}
		name := b.Labels[0]
		switch {
		case first[name] != nil:
			l.duplicate(b, "environment", first[name])
		case slices.Contains(l.opts.Reserved, name):
			l.errorf(b.LabelRanges[0], "Reserved name", "An environment cannot be called %s: troop uses these names itself.", oneOf(l.opts.Reserved))
		case !typePattern.MatchString(name) || len(name) > maxEnvironment:
			l.errorf(b.LabelRanges[0], "Invalid name",
				"%q cannot name an environment: its name starts with a small letter and holds small letters, digits and single dashes, at most %d of them.",
				shorten(name), maxEnvironment)
		}
		if first[name] == nil {
			first[name] = b
			l.environments[name] = true
		}
	}
}

func (l *loader) readEnvironments(blocks []*hclsyntax.Block) {
	seen := map[string]bool{}
	for _, b := range blocks {
		if len(b.Labels) != 1 || seen[b.Labels[0]] {
			continue
		}
		name := b.Labels[0]
		seen[name] = true
		s := site{environment: name, optional: l.opts.Environment != "" && l.opts.Environment != name}
		e := core.Environment{Name: name, Range: rangeOf(b.DefRange())}
		inner := l.content(b.Body, &environmentGrammar)
		terraform, ansible, hosts := ofType(inner, "terraform"), ofType(inner, "ansible"), ofType(inner, "host")
		l.onlyOne(terraform, "terraform")
		l.onlyOne(ansible, "ansible")
		if len(terraform) > 0 {
			e.Terraform = l.terraform(terraform[0], s)
		}
		if len(ansible) > 0 {
			e.Ansible = l.ansible(ansible[0], s)
		}
		e.Hosts = l.hosts(hosts, s)
		e.BucketKeys = l.bucketKeys(ofType(inner, "storage_key"), e, s)
		e.Accessories = l.accessories(ofType(inner, "accessory"), s)
		l.placed(ofType(inner, "accessory"), e)
		l.pipeline.Environments = append(l.pipeline.Environments, e)
	}
	if want := l.opts.Environment; want != "" && !l.environments[want] {
		l.errorAt(core.Range{}, "Unknown environment", l.unknownEnvironment(want))
	}
}

func ofType(blocks []*hclsyntax.Block, typ string) []*hclsyntax.Block {
	var out []*hclsyntax.Block
	for _, b := range blocks {
		if b.Type == typ {
			out = append(out, b)
		}
	}
	return out
}

func (l *loader) terraform(b *hclsyntax.Block, s site) *core.TerraformConfig {
	l.labels(b)
	inner := l.content(b.Body, &terraformGrammar)
	c := &core.TerraformConfig{Review: core.Review{MaxDestroy: -1}, Range: rangeOf(b.DefRange())}
	if a := b.Body.Attributes["module"]; a == nil {
		l.missing(b, "module", `module = "lab"`)
	} else if module, ok := l.str(a, s); ok {
		c.Module = l.module(a, module)
	}
	if a := b.Body.Attributes["program"]; a != nil {
		if text, ok := l.str(a, s); ok {
			if c.Program = text; !slices.Contains(programs, text) {
				l.errorf(a.Expr.Range(), "Unknown program", "%q makes no hosts; %s does.%s", shorten(text), oneOf(programs), didYouMean(text, programs))
			}
		}
	}
	if a := b.Body.Attributes["variables"]; a != nil {
		c.Variables = l.object(a, s)
		for name := range c.Variables {
			if c.Places == nil {
				c.Places = map[string]core.Range{}
			}
			c.Places[name] = rangeOf(entry(a.Expr, name))
		}
		for _, taken := range []string{"environment", "ssh_public_key", "troop_project"} {
			if _, ok := c.Variables[taken]; ok {
				l.errorf(entry(a.Expr, taken), "Reserved variable", "%q is given to every module by troop. Leave it out.", taken)
			}
		}
	}
	backend, review := ofType(inner, "backend"), ofType(inner, "review")
	l.onlyOne(backend, "backend")
	l.onlyOne(review, "review")
	if len(backend) > 0 {
		c.Backend = l.backend(backend[0], s)
	}
	if len(review) > 0 {
		c.Review = l.review(review[0], s)
	}
	return c
}

// backend takes what is written as it is: what a backend's arguments are, only Terraform knows. They are written to a
// file, and so hold no secret.
func (l *loader) backend(b *hclsyntax.Block, s site) *core.Backend {
	if !l.labels(b, "TYPE") {
		return nil
	}
	for _, inner := range b.Body.Blocks {
		l.errorf(inner.TypeRange, "Block in a backend", "Write it as an argument: %s = { … }.", inner.Type)
	}
	c := &core.Backend{Type: b.Labels[0], Arguments: map[string]any{}}
	for _, a := range attributes(b.Body) {
		v, ok := l.partly(a.Expr, s)
		if !ok {
			continue
		}
		if v.ContainsMarked() {
			l.secrets.addMarked(v)
			l.errorf(a.Expr.Range(), "Secret in a backend",
				"Terraform would keep it in a file. Leave it out: a backend takes its credentials from the environment, such as AWS_PROFILE or AWS_ACCESS_KEY_ID.")
			continue
		}
		c.Arguments[a.Name] = goValue(v)
	}
	return c
}

func (l *loader) module(a *hclsyntax.Attribute, module string) string {
	switch {
	case module == "":
		l.errorf(a.Expr.Range(), "Module not found", "The name is empty. %s", l.modules())
		return ""
	case strings.Contains(module, "://") || strings.Contains(module, "::") || strings.HasPrefix(module, "git@"):
		l.errorf(a.Expr.Range(), "Module not found",
			"A root module is a folder. Clone it, or call it from a module of your own: module = \"./FOLDER\".")
		return ""
	case !isPath(module):
		if l.opts.Modules == nil || slices.Contains(l.opts.Modules, module) {
			return module
		}
		hint := didYouMean(module, l.opts.Modules)
		if isFolder(l.resolve(module)) {
			hint = " Did you mean your own folder, \"./" + module + "\"?"
		}
		l.errorf(a.Expr.Range(), "Module not found", "There is no module %q.%s %s", shorten(module), hint, l.modules())
		return ""
	}
	full := l.resolve(module)
	if !isFolder(full) {
		l.errorf(a.Expr.Range(), "Module not found",
			"There is no folder %s. The path starts at the manifest's folder.", display(full))
		return ""
	}
	for _, pattern := range []string{"*.tf", "*.tf.json", "*.tofu", "*.tofu.json"} {
		if found, _ := filepath.Glob(filepath.Join(escapeGlob(full), pattern)); len(found) > 0 {
			return full
		}
	}
	l.errorf(a.Expr.Range(), "Module not found", "The folder %s holds no Terraform file (*.tf).", display(full))
	return ""
}

func (l *loader) modules() string {
	if len(l.opts.Modules) == 0 {
		return "Your own is given by its folder, such as \"./infrastructure\"."
	}
	return "These ship with troop: " + allOf(l.opts.Modules) + "; your own is given by its folder, such as \"./infrastructure\"."
}

// isPath tells a path from a bare word.
func isPath(s string) bool {
	return strings.ContainsAny(s, `/\`) || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "~")
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (l *loader) review(b *hclsyntax.Block, s site) core.Review {
	l.labels(b)
	l.content(b.Body, &reviewGrammar)
	r := core.Review{MaxDestroy: -1}
	if a := b.Body.Attributes["approve"]; a != nil {
		r.Approve, _ = l.boolean(a, s)
	}
	if a := b.Body.Attributes["forbid"]; a != nil {
		r.Forbid, _ = l.strs(a, s)
		for i, f := range r.Forbid {
			if !slices.Contains(changes, f) {
				l.errorf(item(a.Expr, i), "Unknown kind of change", "%q cannot be forbidden; %s can.%s", shorten(f), oneOf(changes), didYouMean(f, changes))
			}
		}
	}
	if a := b.Body.Attributes["max_destroy"]; a != nil {
		if n, ok := l.integer(a, s); ok {
			r.MaxDestroy = n
		}
	}
	if a := b.Body.Attributes["max_monthly"]; a != nil {
		if n, ok := l.integer(a, s); ok {
			if r.MaxMonthly = n; n == 0 {
				l.errorf(a.Expr.Range(), "Invalid number", "%q wants US dollars, such as 300. To approve every plan: approve = true.", a.Name)
			}
		}
	}
	if a := b.Body.Attributes["rules"]; a != nil {
		patterns, _ := l.strs(a, s)
		for i, pattern := range patterns {
			r.Rules = append(r.Rules, l.rules(item(a.Expr, i), pattern)...)
		}
		slices.Sort(r.Rules)
		r.Rules = slices.Compact(r.Rules)
	}
	if a := b.Body.Attributes["drift"]; a != nil {
		if text, ok := l.str(a, s); ok {
			r.Drift = l.onDrift(a, text)
		}
	}
	return r
}

// rules are the files that a pattern names. One that names none is a mistake: nothing would be refused.
func (l *loader) rules(r hcl.Range, pattern string) []string {
	if !doublestar.ValidatePattern(pattern) {
		l.errorf(r, "Invalid pattern", "%q is not a pattern. Write one such as \"policy/*.rego\".", shorten(pattern))
		return nil
	}
	full := l.resolve(pattern)
	if below, ok := strings.CutPrefix(full, l.pipeline.Dir); ok {
		full = escapeGlob(l.pipeline.Dir) + below
	}
	found, err := doublestar.FilepathGlob(full, doublestar.WithFilesOnly())
	if err == nil && len(found) > 0 {
		return found
	}
	l.errorf(r, "Rules not found", "There is no file %s. The path starts at the manifest's folder.", display(l.resolve(pattern)))
	return nil
}

func (l *loader) onDrift(a *hclsyntax.Attribute, text string) core.OnDrift {
	known := []string{string(core.ReportDrift), string(core.StopAtDrift)}
	if !slices.Contains(known, text) {
		l.errorf(a.Expr.Range(), "Invalid drift",
			"%q is neither \"report\", which reports changes made outside troop, nor \"stop\", which ends a run because of them.%s", shorten(text), didYouMean(text, known))
	}
	return core.OnDrift(text)
}

func (l *loader) ansible(b *hclsyntax.Block, s site) *core.AnsibleConfig {
	l.labels(b)
	l.content(b.Body, &ansibleGrammar)
	c := &core.AnsibleConfig{Range: rangeOf(b.DefRange())}
	if a := b.Body.Attributes["playbook"]; a == nil {
		l.missing(b, "playbook", `playbook = "site.yml"`)
	} else if playbook, ok := l.str(a, s); ok {
		c.Playbook = l.playbook(a, playbook)
	}
	if a := b.Body.Attributes["variables"]; a != nil {
		c.Variables = l.object(a, s)
		for _, name := range slices.Sorted(maps.Keys(c.Variables)) {
			if strings.HasPrefix(name, "troop_") || strings.HasPrefix(name, "ansible_") {
				l.errorf(entry(a.Expr, name), "Reserved variable", "%q: names that start with troop_ and ansible_ are set by troop.", shorten(name))
			}
		}
	}
	if a := b.Body.Attributes["vault_password_command"]; a != nil {
		var ok bool
		if c.VaultPassword, ok = l.strs(a, s); ok && (len(c.VaultPassword) == 0 || c.VaultPassword[0] == "") {
			l.errorf(a.Expr.Range(), "No command", "%q wants a program and its arguments, such as [\"pass\", \"show\", \"vault\"].", a.Name)
		}
	}
	if a := b.Body.Attributes["requirements"]; a != nil {
		if file, ok := l.str(a, s); ok {
			if c.Requirements = l.resolve(file); !isFile(c.Requirements) {
				l.errorf(a.Expr.Range(), "Requirements not found", "There is no file %s. The path starts at the manifest's folder.", display(c.Requirements))
			}
		}
	}
	return c
}

func (l *loader) playbook(a *hclsyntax.Attribute, playbook string) string {
	if playbook != "" && !isPath(playbook) {
		if l.opts.Playbooks == nil || slices.Contains(l.opts.Playbooks, playbook) {
			return playbook
		}
		hint := didYouMean(playbook, l.opts.Playbooks)
		if isFile(l.resolve(playbook)) {
			hint = " Did you mean your own file, \"./" + playbook + "\"?"
		}
		ship := ""
		if len(l.opts.Playbooks) > 0 {
			ship = "These ship with troop: " + allOf(l.opts.Playbooks) + "; your"
		} else {
			ship = "Your"
		}
		l.errorf(a.Expr.Range(), "Playbook not found", "There is no playbook %q.%s %s own is given by its path, such as \"./site.yml\".",
			shorten(playbook), hint, ship)
		return ""
	}
	full := l.resolve(playbook)
	if playbook == "" || !isFile(full) {
		l.errorf(a.Expr.Range(), "Playbook not found", "There is no file %s. The path starts at the manifest's folder.", display(full))
		return ""
	}
	return full
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// checkEnvironment reports a name that no environment has.
func (l *loader) checkEnvironment(r hcl.Range, name string) bool {
	if l.environments[name] {
		return true
	}
	l.errorf(r, "Unknown environment", "%s", l.unknownEnvironment(name))
	return false
}

func (l *loader) unknownEnvironment(name string) string {
	var names []string
	for n := range l.environments {
		names = append(names, n)
	}
	slices.Sort(names)
	text := "There is no environment \"" + shorten(name) + "\"." + didYouMean(name, names)
	switch {
	case len(names) == 0:
		text += " Declare it: environment \"" + shorten(name) + "\" { … }."
	case core.Nearest(name, names) == "":
		text += " The environments are: " + strings.Join(names, ", ") + "."
	}
	return text
}
