// Package policy evaluates a team's rules, written in Rego (Open Policy Agent), on a Terraform plan. It is the only
// package that imports OPA; no program that runs on hosts imports it. core/environment compiles the files that the
// manifest names and passes the rules to core/terraform.
//
// Rules are those of Conftest: a set of messages, or of objects with a field msg, named deny, violation or warn, or one
// of these followed by an underscore and a suffix. The input is the plan in Terraform's JSON form:
//
//	package terraform
//
//	deny contains msg if {
//		some r in input.resource_changes
//		"delete" in r.change.actions
//		r.type == "aws_ebs_volume"
//		msg := sprintf("%s holds data", [r.address])
//	}
package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/seed-b96de936/troop/core"
)

// Rules are compiled rule files. Safe for concurrent use.
type Rules struct {
	compiler *ast.Compiler
	rules    []rule
}

// rule is one deny, violation or warn rule of a file.
type rule struct {
	name     string
	severity string
	file     string // as shown to users
	line     int
	query    string // of the copy that contains only this rule
}

var (
	refuses = regexp.MustCompile(`^(deny|violation)(_\w+)?$`)
	warns   = regexp.MustCompile(`^warn(_\w+)?$`)
)

// copied is the prefix of the names of rule copies; the suffix names the original.
var copied = regexp.MustCompile(`troop__\d+__`)

// forbidden are functions that access the network or make a result depend on more than the plan and the time.
var forbidden = []string{"http.send", "net.lookup_ip_addr", "opa.runtime"}

// Compile compiles rule files, by path. Mistakes are core.Diagnostics, all that the compiler finds at once. Findings
// contain paths relative to dir.
func Compile(dir string, files map[string][]byte) (*Rules, error) {
	capabilities := ast.CapabilitiesForThisVersion()
	capabilities.Builtins = slices.DeleteFunc(capabilities.Builtins, func(b *ast.Builtin) bool { return slices.Contains(forbidden, b.Name) })
	capabilities.AllowNet = []string{}
	var diags core.Diagnostics
	r := &Rules{}
	modules := map[string]*ast.Module{}
	paths := slices.Sorted(maps.Keys(files))
	for _, path := range paths {
		m, err := ast.ParseModuleWithOpts(path, string(files[path]), ast.ParserOptions{Capabilities: capabilities, RegoVersion: ast.RegoV1})
		if err != nil {
			diags = append(diags, diagnose(path, err)...)
			continue
		}
		modules[path] = m
		r.take(strings.TrimPrefix(path, dir+string(filepath.Separator)), m)
	}
	if len(diags) > 0 {
		return nil, diags
	}
	r.compiler = ast.NewCompiler().WithCapabilities(capabilities).WithDefaultRegoVersion(ast.RegoV1)
	if r.compiler.Compile(modules); r.compiler.Failed() {
		return nil, diagnose("", r.compiler.Errors)
	}
	if len(paths) > 0 && len(r.rules) == 0 {
		first := core.Pos{Line: 1, Column: 1}
		return nil, core.Diagnostics{{
			Summary: "No rule found",
			Detail:  "No file has a rule named deny, violation or warn, so nothing would ever be refused.",
			Range:   core.Range{File: paths[0], Start: first, End: first},
		}}
	}
	return r, nil
}

// take records the rules of a module and adds a copy of each under a unique name: Rego merges rules of the same name into
// one set, but a message must be shown with the position of its rule.
func (r *Rules) take(file string, m *ast.Module) {
	for _, x := range slices.Clone(m.Rules) {
		name := string(x.Head.Name)
		severity := ""
		switch {
		case x.Default || len(x.Head.Args) > 0 || len(x.Head.Ref()) > 1 && x.Head.Key == nil:
			continue
		case refuses.MatchString(name):
			severity = "error"
		case warns.MatchString(name):
			severity = "warning"
		default:
			continue
		}
		alone := fmt.Sprintf("troop__%d__%s", len(r.rules), name)
		c := x.Copy()
		c.Head.Name = ast.Var(alone)
		ref := c.Head.Ref().Copy()
		ref[0] = ast.VarTerm(alone)
		c.Head.SetRef(ref)
		c.Annotations = nil
		m.Rules = append(m.Rules, c)
		r.rules = append(r.rules, rule{name: name, severity: severity, file: file, line: x.Loc().Row, query: m.Package.Path.String() + "." + alone})
	}
}

// diagnose converts compiler errors to diagnostics.
func diagnose(file string, err error) core.Diagnostics {
	found, ok := errors.AsType[ast.Errors](err)
	if !ok {
		return core.Diagnostics{{Summary: "Invalid rule", Detail: err.Error(), Range: core.Range{File: file}}}
	}
	var diags core.Diagnostics
	seen := map[string]bool{}
	for _, e := range found {
		d := core.Diagnostic{Summary: "Invalid rule", Detail: sentence(e)}
		if at := e.Location; at != nil {
			text, _, _ := strings.Cut(string(at.Text), "\n")
			start := core.Pos{Line: at.Row, Column: at.Col, Byte: at.Offset}
			end := core.Pos{Line: at.Row, Column: at.Col + utf8.RuneCountInString(text), Byte: at.Offset + len(text)}
			d.Range = core.Range{File: at.File, Start: start, End: end}
		}
		if key := fmt.Sprint(d.Range.File, d.Range.Start, d.Detail); !seen[key] { // a rule and its copy have the same errors
			seen[key] = true
			diags = append(diags, d)
		}
	}
	return diags
}

func sentence(e *ast.Error) string {
	s := copied.ReplaceAllString(strings.ToUpper(e.Message[:1])+e.Message[1:], "")
	if e.Details != nil && e.Code != ast.ParseErr { // details of parse errors quote the line, which a diagnostic already shows
		s += ": " + strings.Join(strings.Fields(strings.Join(e.Details.Lines(), " ")), " ")
	}
	return strings.TrimSuffix(s, ".") + "."
}

// Judge evaluates every rule on a plan. A finding of severity "error" refuses it. Findings are in the order of the files
// and of the rules in them.
func (r *Rules) Judge(ctx context.Context, plan map[string]any) ([]core.Finding, error) {
	var findings []core.Finding
	for _, x := range r.rules {
		results, err := rego.New(rego.Compiler(r.compiler), rego.Query(x.query), rego.Input(plan), rego.StrictBuiltinErrors(false)).Eval(ctx)
		if err != nil {
			return nil, fmt.Errorf("evaluate %s at %s:%d: %w", x.name, x.file, x.line, err)
		}
		for _, result := range results {
			for _, e := range result.Expressions {
				for _, message := range messages(e.Value) {
					findings = append(findings, core.Finding{
						Path: x.file, Line: x.line, Severity: x.severity, Rule: x.name, Message: message,
					})
				}
			}
		}
	}
	return findings, nil
}

// messages returns the messages in a rule's value: strings, or objects with a field msg.
func messages(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, x := range v {
			all = append(all, messages(x)...)
		}
		return all
	case map[string]any:
		if s, ok := v["msg"].(string); ok {
			return []string{s}
		}
		return []string{fmt.Sprint(v)}
	case bool:
		if v {
			return []string{"the rule holds"}
		}
		return nil
	}
	return []string{fmt.Sprint(v)}
}
