package manifest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

type mark string

// sensitive marks values that must not be shown.
const sensitive mark = "sensitive"

// secrets collects the texts that must be masked wherever they appear.
type secrets struct {
	seen map[string]bool
}

// add takes a text and each of its lines: outputs are masked line by line.
func (s *secrets) add(text string) {
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	if len(text) >= mask.MinSecret {
		s.seen[text] = true
	}
	if !strings.ContainsAny(text, "\r\n") {
		return
	}
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(line); len(line) >= mask.MinSecret {
			s.seen[line] = true
		}
	}
}

// addValue takes every text and number within v.
func (s *secrets) addValue(v cty.Value) {
	v, _ = v.UnmarkDeep()
	_ = cty.Walk(v, func(_ cty.Path, x cty.Value) (bool, error) {
		if !x.IsKnown() || x.IsNull() || !x.Type().IsPrimitiveType() || x.Type() == cty.Bool {
			return true, nil
		}
		if text, err := convert.Convert(x, cty.String); err == nil {
			s.add(text.AsString())
		}
		return true, nil
	})
}

// addMarked takes what is marked as sensitive within v: also texts that were made of secrets.
func (s *secrets) addMarked(v cty.Value) {
	_, marks := v.UnmarkDeepWithPaths()
	for _, m := range marks {
		if x, err := m.Path.Apply(unmarked(v)); err == nil {
			s.addValue(x)
		}
	}
}

func unmarked(v cty.Value) cty.Value {
	v, _ = v.UnmarkDeep()
	return v
}

// list returns the longest first, so that a text is masked before a part of it is.
func (s *secrets) list() []string {
	var out []string
	for text := range s.seen {
		out = append(out, text)
	}
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return out
}

// source is where a secret is kept, and its value once that was read.
type source struct {
	core.SecretSource
	block *hclsyntax.Block

	mu      sync.Mutex // stages ask for values at the same time
	fetched bool       // or tried to
	value   *string
}

// declareSecrets runs when the variables have their values: a place may depend on them, but on nothing else.
func (l *loader) declareSecrets(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		if !l.labels(b, "NAME") || !l.name(b, 0, "secret") {
			continue
		}
		name := b.Labels[0]
		if first := l.sources[name]; first != nil {
			l.duplicate(b, "secret", first.block)
			continue
		}
		l.sources[name] = &source{block: b, SecretSource: l.source(name, b)}
	}
}

// places are the arguments of which a secret has one.
var places = []string{"file", "command", "aws_parameter", "aws_secret"}

func (l *loader) source(name string, b *hclsyntax.Block) core.SecretSource {
	l.content(b.Body, &secretGrammar)
	s := core.SecretSource{Name: name, Dir: l.pipeline.Dir}
	var given []*hclsyntax.Attribute
	unknown := false // and reported: probably the place
	for _, a := range attributes(b.Body) {
		if slices.Contains(places, a.Name) {
			given = append(given, a)
		}
		unknown = unknown || !secretGrammar.hasArgument(a.Name)
	}
	switch {
	case len(given) == 0 && unknown:
	case len(given) == 0:
		l.missing(b, "file", `file = "token.txt", or one of command, aws_parameter and aws_secret`)
	case len(given) > 1:
		l.errorf(given[1].NameRange, "Two places of a secret", "%q says where the secret is kept already. Keep one of the two.", given[0].Name)
	case given[0].Name == "command":
		s.Command = l.secretCommand(given[0])
	}
	text := func(name string) (value string) {
		a := b.Body.Attributes[name]
		if a == nil {
			return ""
		}
		value, ok := l.str(a, site{varsOnly: true})
		if ok && strings.TrimSpace(value) == "" {
			l.errorf(a.Expr.Range(), "Empty text", "%q is empty.", name)
		}
		return value
	}
	if file := text("file"); file != "" {
		s.File = l.resolve(file)
	}
	s.Parameter, s.SecretID, s.Region, s.Key = text("aws_parameter"), text("aws_secret"), text("region"), text("key")
	if a := b.Body.Attributes["region"]; a != nil && len(given) > 0 && !strings.HasPrefix(given[0].Name, "aws_") {
		l.errorf(a.NameRange, "Unknown argument", "A region belongs to a secret that AWS keeps: aws_parameter or aws_secret.")
	}
	return s
}

// secretCommand refuses secrets in it: every user of a machine can read its command lines.
func (l *loader) secretCommand(a *hclsyntax.Attribute) []string {
	v, ok := l.value(a.Expr, site{varsOnly: true})
	if ok && v.ContainsMarked() {
		l.errorf(a.Expr.Range(), "Sensitive value in a command", "Every user of the machine can read a command line. Let the command read this value from its environment or from a file.")
		return nil
	}
	words, ok := l.strs(a, site{varsOnly: true})
	if ok && (len(words) == 0 || words[0] == "") {
		l.errorf(a.Expr.Range(), "Empty command", "Write the command as a list of words, such as [\"pass\", \"show\", \"shop/token\"].")
	}
	return words
}

// needed reports whether what stands at a site is going to be used.
func (l *loader) needed(s site) bool {
	return !s.optional && (l.opts.Need == Everything || (l.opts.Need == EnvironmentOnly && s.environment != ""))
}

// fetch reads a secret, once. What is wrong is said once.
func (l *loader) fetch(s *source) hcl.Diagnostics {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched || l.opts.Secret == nil || (s.File == "" && s.Command == nil && s.Parameter == "" && s.SecretID == "") {
		return nil
	}
	s.fetched = true
	value, err := l.opts.Secret(s.SecretSource)
	if err != nil {
		r := s.block.DefRange()
		return hcl.Diagnostics{{
			Severity: hcl.DiagError, Summary: "Secret cannot be read", Detail: fmt.Sprintf("secret.%s: %v.", s.Name, err), Subject: &r,
		}}
	}
	s.value = &value
	if !l.loaded {
		l.secrets.add(value)
	}
	return nil
}

// hidden are all secrets that are known by now.
func (l *loader) hidden() []string {
	all := slices.Clone(l.pipeline.Secrets)
	for _, s := range l.sources {
		if v := unmarked(s.current()); v.IsKnown() {
			all = append(all, v.AsString())
		}
	}
	return all
}

// secrets are the known values of the secrets and environment variables that a block refers to, by name. Of a secret
// and a variable with one name, the secret counts.
func (m *moment) secrets(refs []reference, computed []computation) map[string]string {
	refs = slices.Clone(refs)
	for _, x := range computed {
		refs = append(refs, x.refs...)
	}
	out := map[string]string{}
	seen := map[string]bool{}
	var variables, secrets []reference
	for len(refs) > 0 {
		r := refs[0]
		refs = refs[1:]
		switch {
		case r.root == rootEnv:
			variables = append(variables, r)
		case r.root == rootSecret:
			secrets = append(secrets, r)
		case r.root == rootLocal && !seen[r.name]:
			seen[r.name] = true
			refs = append(refs, m.l.locals[r.name].refs...)
		}
	}
	for _, r := range variables {
		if text := m.l.environ[r.name]; text != nil {
			out[r.name] = *text
		}
	}
	for _, r := range secrets {
		if v := unmarked(m.l.sources[r.name].current()); v.IsKnown() {
			out[r.name] = v.AsString()
		}
	}
	return out
}

// current is the value, or unknown when it was not read.
func (s *source) current() cty.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.value == nil {
		return cty.UnknownVal(cty.String).Mark(sensitive)
	}
	return cty.StringVal(*s.value).Mark(sensitive)
}
