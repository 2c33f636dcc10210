package main

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
)

// policy says which licences pass: patterns of SPDX identifiers.
type policy struct{ allow, deny []string }

// refuse says why a licence does not pass; empty: it does.
func (p policy) refuse(expression string) string {
	if _, err := spdxexp.ExtractLicenses(expression); err != nil {
		return "SPDX knows no licence " + expression
	}
	var refused []string
	e := evaluation{tokens: token.FindAllString(expression, -1), passes: func(id string) bool {
		ok := (len(p.allow) == 0 || matches(p.allow, id)) && !matches(p.deny, id)
		if !ok {
			refused = append(refused, id)
		}
		return ok
	}}
	if e.or() {
		return ""
	}
	if reason := strings.Join(refused, ", "); reason != expression {
		return "licence " + expression + " is refused for " + reason
	}
	return "licence " + expression + " is refused"
}

// matches reports whether a pattern names a licence, with or without its exception.
func matches(patterns []string, id string) bool {
	bare, _, _ := strings.Cut(id, " WITH ")
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, id) || match(p, bare) })
}

func match(pattern, id string) bool {
	ok, err := path.Match(strings.ToLower(usual(pattern)), strings.ToLower(usual(id)))
	return ok && err == nil
}

// matchesAny reports whether there is a licence that a pattern names.
func matchesAny(pattern string) bool {
	if ok, _ := spdxexp.ValidateLicensesWithOptions([]string{pattern}, spdxexp.ValidateLicensesOptions{FailComplexExpressions: true}); ok {
		return true
	}
	return slices.ContainsFunc(spdxlicenses.GetLicenses(), func(id string) bool { return match(pattern, id) })
}

var gnu = regexp.MustCompile(`(?i)^([AL]?GPL-\d\.\d|GFDL-1\.\d)(\+?)$`)

// usual is the name that SPDX prefers for a licence of GNU's, which may be meant by an older one.
func usual(id string) string {
	m := gnu.FindStringSubmatch(id)
	switch {
	case m == nil:
		return id
	case m[2] == "+":
		return m[1] + "-or-later"
	}
	return m[1] + "-only"
}

var token = regexp.MustCompile(`[()]|[^\s()]+`)

// evaluation computes an SPDX expression that is known to be valid: of OR one side has to pass, of AND both, and AND
// binds stronger. Both sides are always looked at, so that everything that does not pass can be named.
type evaluation struct {
	tokens []string
	passes func(id string) bool
}

func (e *evaluation) or() bool {
	ok := e.and()
	for e.take("OR") {
		ok = e.and() || ok
	}
	return ok
}

func (e *evaluation) and() bool {
	ok := e.one()
	for e.take("AND") {
		ok = e.one() && ok
	}
	return ok
}

func (e *evaluation) one() bool {
	if e.take("(") {
		ok := e.or()
		e.take(")")
		return ok
	}
	id := e.next()
	if e.take("WITH") {
		id += " WITH " + e.next()
	}
	return e.passes(id)
}

func (e *evaluation) take(word string) bool {
	if len(e.tokens) == 0 || e.tokens[0] != word {
		return false
	}
	e.tokens = e.tokens[1:]
	return true
}

func (e *evaluation) next() string {
	if len(e.tokens) == 0 {
		return ""
	}
	id := e.tokens[0]
	e.tokens = e.tokens[1:]
	return id
}
