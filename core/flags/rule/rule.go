// Package rule compiles and evaluates the targeting rules of feature flags: JsonLogic, with the operators that flagd adds
// to it (fractional, sem_ver, starts_with, ends_with), so that a rule chooses the same variant here and in flagd. A rule
// only computes: it reaches no file, no network and no clock but the one it is handed, and its work is bounded.
// core/flags imports it.
package rule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxDepth = 64      // of nested operators
	maxSteps = 100_000 // operators applied in one evaluation; only rules that walk lists come near
	maxText  = 1 << 16 // bytes of a string that a rule makes
)

// ErrTooMuch is the error of an evaluation that was given up.
var ErrTooMuch = errors.New("the rule takes too many steps for this context")

// Rule is a compiled rule. It is safe for concurrent use.
type Rule struct{ eval expr }

// expr is a compiled part of a rule.
type expr func(*scope) any

// scope is what one evaluation knows.
type scope struct {
	data  any // what var reads: the context, or the element that map, filter and the like are at
	root  map[string]any
	flag  string
	now   time.Time
	steps int
	err   error
}

// with evaluates e with other data.
func (s *scope) with(data any, e expr) any {
	kept := s.data
	s.data = data
	v := e(s)
	s.data = kept
	return v
}

// step counts an operator and reports whether the evaluation may go on.
func (s *scope) step() bool {
	s.steps++
	if s.steps > maxSteps {
		s.err = ErrTooMuch
	}
	return s.err == nil
}

// text keeps a string that a rule made within bounds.
func (s *scope) text(v string) any {
	if len(v) > maxText {
		s.err = ErrTooMuch
		return nil
	}
	return v
}

// Compile reads a rule. The error names an unknown operator or wrong arguments.
func Compile(data []byte) (*Rule, error) {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("a rule is JSON: %w", err)
	}
	e, err := compile(v, 0)
	if err != nil {
		return nil, err
	}
	return &Rule{e}, nil
}

// Eval applies the rule to the context of an evaluation. The result is what JsonLogic gives: the name of a variant, or
// nil for the default.
func (r *Rule) Eval(context map[string]any, flag string, now time.Time) (any, error) {
	s := &scope{data: context, root: context, flag: flag, now: now}
	v := r.eval(s)
	return v, s.err
}

func compile(v any, depth int) (expr, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("a rule is nested at most %d deep", maxDepth)
	}
	switch v := v.(type) {
	case []any:
		list, err := compileAll(v, depth)
		if err != nil {
			return nil, err
		}
		return func(s *scope) any { return evalAll(s, list) }, nil
	case map[string]any:
		if len(v) != 1 {
			return constant(v), nil // data, as JsonLogic has it
		}
		for name, args := range v {
			return compileOperator(name, args, depth+1)
		}
	}
	return constant(v), nil
}

func compileOperator(name string, args any, depth int) (expr, error) {
	op, ok := operators[name]
	if !ok {
		return nil, fmt.Errorf("unknown operator %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(operators)), ", "))
	}
	list, ok := args.([]any)
	if !ok {
		list = []any{args} // {"var": "x"} is short for {"var": ["x"]}
	}
	if len(list) < op.least || op.most >= 0 && len(list) > op.most {
		return nil, fmt.Errorf("operator %q takes %s, not %d", name, op.arity(), len(list))
	}
	compiled, err := compileAll(list, depth)
	if err != nil {
		return nil, err
	}
	apply := op.make(compiled, list)
	return func(s *scope) any {
		if !s.step() {
			return nil
		}
		return apply(s)
	}, nil
}

func compileAll(list []any, depth int) ([]expr, error) {
	out := make([]expr, len(list))
	for i, v := range list {
		var err error
		if out[i], err = compile(v, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func constant(v any) expr { return func(*scope) any { return v } }

func evalAll(s *scope, list []expr) []any {
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = e(s)
	}
	return out
}

// lookup is the operator var. A missing value is the default, else nil.
func lookup(args []expr, raw []any) expr {
	fallback := constant(nil)
	if len(args) > 1 {
		fallback = args[1]
	}
	find := func(s *scope, path []string) any {
		if v, ok := walk(s, path); ok && v != nil {
			return v
		}
		return fallback(s)
	}
	if len(raw) == 0 {
		return func(s *scope) any { return s.data }
	}
	switch raw[0].(type) {
	case string, float64, nil:
		path := split(raw[0])
		return func(s *scope) any { return find(s, path) }
	}
	return func(s *scope) any { return find(s, split(args[0](s))) }
}

// split cuts what var was given into names; none is the whole of the data.
func split(v any) []string {
	text := toString(v)
	if v == nil || text == "" {
		return nil
	}
	return strings.Split(text, ".")
}

func walk(s *scope, path []string) (any, bool) {
	if len(path) == 2 && path[0] == "$flagd" {
		switch path[1] {
		case "flagKey":
			return s.flag, true
		case "timestamp":
			return float64(s.now.Unix()), true
		}
	}
	v := s.data
	for _, name := range path {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[name]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return nil, false
			}
			v = in[i]
		default:
			return nil, false
		}
	}
	return v, true
}
