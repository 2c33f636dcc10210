// Package policy judges a plan by rules that a team writes in Rego, the language of Open Policy Agent. It is the
// only package that imports OPA, and nothing that runs on hosts imports it: core/cmd/troop gives it the files that
// the manifest names, and gives it to core/terraform.
//
// A rule is one of Conftest's: a set of messages, or of objects with a field msg, named deny, violation or warn, or
// one of these with an underscore and more. The plan, in Terraform's JSON form, is input:
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

// Rules are files that were read and understood. They may be used by several goroutines.
type Rules struct {
	compiler *ast.Compiler
	rules    []rule
}

// rule is one deny or warn in a file.
type rule struct {
	name     string
	severity string
	file     string // as it is shown
	line     int
	query    string // of the copy that is this rule alone
}

var (
	refuses = regexp.MustCompile(`^(deny|violation)(_\w+)?$`)
	warns   = regexp.MustCompile(`^warn(_\w+)?$`)
)

// copied is the name of a rule's copy; what it is a copy of stands at its end.
var copied = regexp.MustCompile(`troop__\d+__`)

// forbidden are functions by which a rule's answer would depend on more than the plan and the time, or reach out.
var forbidden = []string{"http.send", "net.lookup_ip_addr", "opa.runtime"}

// Compile understands files of rules, by their paths. Mistakes in them are core.Diagnostics, all that the compiler
// finds at once. Findings show the paths from dir.
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
			Summary: "Rules without a verdict",
			Detail:  "No file has a rule named deny, violation or warn: nothing would ever be refused.",
			Range:   core.Range{File: paths[0], Start: first, End: first},
		}}
	}
	return r, nil
}

// take notes the rules of a module and adds a copy of each, under a name of its own: the rules of one name make one
// set, whoever they are, and a message must be shown with the place of its rule.
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

// diagnose turns what the compiler found into diagnostics.
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
		if key := fmt.Sprint(d.Range.File, d.Range.Start, d.Detail); !seen[key] { // of a rule and its copy
			seen[key] = true
			diags = append(diags, d)
		}
	}
	return diags
}

func sentence(e *ast.Error) string {
	s := copied.ReplaceAllString(strings.ToUpper(e.Message[:1])+e.Message[1:], "")
	if e.Details != nil && e.Code != ast.ParseErr { // those draw the line, as a diagnostic does
		s += ": " + strings.Join(strings.Fields(strings.Join(e.Details.Lines(), " ")), " ")
	}
	return strings.TrimSuffix(s, ".") + "."
}

// Judge evaluates every rule on a plan. Findings of severity "error" refuse it; they come in the order of the files
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

// messages are what a rule comes to: texts, or objects with one.
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
