package rule

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// operator makes the expression of an operator from its compiled arguments; raw are the same as they are written.
type operator struct {
	least, most int // number of arguments; most -1 is any number
	make        func(args []expr, raw []any) expr
}

func (o operator) arity() string {
	switch {
	case o.most < 0:
		return fmt.Sprintf("%d arguments or more", o.least)
	case o.least == o.most:
		return fmt.Sprintf("%d arguments", o.least)
	}
	return fmt.Sprintf("%d to %d arguments", o.least, o.most)
}

// operators are all there are. An operator that is not here is refused when a rule is compiled.
var operators = map[string]operator{
	"var":          {0, 2, lookup},
	"missing":      {0, -1, lazily(missing)},
	"missing_some": {2, 2, lazily(missingSome)},

	"if": {1, -1, choose}, "?:": {3, 3, choose},
	"and": {1, -1, and}, "or": {1, -1, or},
	"!": {1, 1, unary(func(a any) any { return !truthy(a) })}, "!!": {1, 1, unary(func(a any) any { return truthy(a) })},

	"==":  {2, 2, binary(func(a, b any) any { return looseEqual(a, b) })},
	"!=":  {2, 2, binary(func(a, b any) any { return !looseEqual(a, b) })},
	"===": {2, 2, binary(func(a, b any) any { return strictEqual(a, b) })},
	"!==": {2, 2, binary(func(a, b any) any { return !strictEqual(a, b) })},
	"<":   {2, 3, chain(less)}, "<=": {2, 3, chain(atMost)},
	">":  {2, 3, chain(func(a, b any) bool { return less(b, a) })},
	">=": {2, 3, chain(func(a, b any) bool { return atMost(b, a) })},

	"+": {1, -1, fold(0, func(a, b float64) float64 { return a + b })},
	"*": {1, -1, fold(1, func(a, b float64) float64 { return a * b })},
	"-": {1, 2, minus}, "/": {2, 2, arithmetic(func(a, b float64) float64 { return a / b })},
	"%":   {2, 2, arithmetic(math.Mod)},
	"max": {1, -1, fold(math.Inf(-1), math.Max)}, "min": {1, -1, fold(math.Inf(1), math.Min)},

	"in": {2, 2, binary(in)}, "cat": {0, -1, lazily(cat)}, "substr": {2, 3, lazily(substr)},
	"merge": {0, -1, lazily(merge)},
	"map":   {2, 2, walkList(mapList)}, "filter": {2, 2, walkList(filter)}, "reduce": {3, 3, reduce},
	"all":  {2, 2, walkList(quantifier(false, false))},
	"some": {2, 2, walkList(quantifier(true, true))}, "none": {2, 2, walkList(quantifier(true, false))},

	"fractional":  {1, -1, lazily(fractional)},
	"sem_ver":     {3, 3, lazily(semVer)},
	"starts_with": {2, 2, binary(compareText(strings.HasPrefix))},
	"ends_with":   {2, 2, binary(compareText(strings.HasSuffix))},
}

func lazily(apply func(*scope, []any) any) func([]expr, []any) expr {
	return func(args []expr, _ []any) expr {
		return func(s *scope) any { return apply(s, evalAll(s, args)) }
	}
}

func unary(apply func(a any) any) func([]expr, []any) expr {
	return func(args []expr, _ []any) expr { return func(s *scope) any { return apply(args[0](s)) } }
}

func binary(apply func(a, b any) any) func([]expr, []any) expr {
	return func(args []expr, _ []any) expr {
		return func(s *scope) any { return apply(args[0](s), args[1](s)) }
	}
}

// chain compares neighbours: {"<": [1, x, 9]} is 1 < x and x < 9.
func chain(holds func(a, b any) bool) func([]expr, []any) expr {
	return func(args []expr, _ []any) expr {
		return func(s *scope) any {
			v := evalAll(s, args)
			for i := 1; i < len(v); i++ {
				if !holds(v[i-1], v[i]) {
					return false
				}
			}
			return true
		}
	}
}

func arithmetic(apply func(a, b float64) float64) func([]expr, []any) expr {
	return binary(func(a, b any) any { return apply(toNumber(a), toNumber(b)) })
}

func fold(start float64, apply func(a, b float64) float64) func([]expr, []any) expr {
	return lazily(func(_ *scope, v []any) any {
		sum := start
		for _, e := range v {
			sum = apply(sum, toNumber(e))
		}
		return sum
	})
}

func minus(args []expr, _ []any) expr {
	return func(s *scope) any {
		if len(args) == 1 {
			return -toNumber(args[0](s))
		}
		return toNumber(args[0](s)) - toNumber(args[1](s))
	}
}

// choose evaluates only the branch that it takes. Without an else, the result is nil.
func choose(args []expr, _ []any) expr {
	return func(s *scope) any {
		i := 0
		for ; i+1 < len(args); i += 2 {
			if truthy(args[i](s)) {
				return args[i+1](s)
			}
		}
		if i < len(args) {
			return args[i](s)
		}
		return nil
	}
}

func and(args []expr, _ []any) expr {
	return func(s *scope) (v any) {
		for _, e := range args {
			if v = e(s); !truthy(v) {
				return v
			}
		}
		return v
	}
}

func or(args []expr, _ []any) expr {
	return func(s *scope) (v any) {
		for _, e := range args {
			if v = e(s); truthy(v) {
				return v
			}
		}
		return v
	}
}

func missing(s *scope, v []any) any {
	if len(v) > 0 {
		if list, ok := v[0].([]any); ok {
			v = list
		}
	}
	absent := []any{}
	for _, name := range v {
		if found, ok := walk(s, split(name)); !ok || found == nil {
			absent = append(absent, name)
		}
	}
	return absent
}

func missingSome(s *scope, v []any) any {
	names, _ := v[1].([]any)
	absent, _ := missing(s, names).([]any)
	if float64(len(names)-len(absent)) >= toNumber(v[0]) {
		return []any{}
	}
	return absent
}

func in(a, b any) any {
	switch b := b.(type) {
	case string:
		return a != nil && strings.Contains(b, toString(a))
	case []any:
		return slices.ContainsFunc(b, func(e any) bool { return strictEqual(a, e) })
	}
	return false
}

func cat(s *scope, v []any) any {
	var text strings.Builder
	for _, e := range v {
		if text.WriteString(toString(e)); text.Len() > maxText {
			break
		}
	}
	return s.text(text.String())
}

// substr counts characters. A negative start counts from the end, a negative length leaves that many out.
func substr(_ *scope, v []any) any {
	text := []rune(toString(v[0]))
	start := clamp(toNumber(v[1]), len(text))
	end := len(text)
	if len(v) == 3 {
		n := toNumber(v[2])
		if n < 0 {
			end = clamp(n, len(text))
		} else {
			end = clamp(float64(start)+n, len(text))
		}
	}
	return string(text[start:max(start, end)])
}

func clamp(n float64, size int) int {
	if n < 0 {
		n += float64(size)
	}
	if !(n > 0) { // NaN, too
		return 0
	}
	return int(min(n, float64(size)))
}

func merge(s *scope, v []any) any {
	out := []any{}
	for _, e := range v {
		if list, ok := e.([]any); ok {
			out = append(out, list...)
		} else {
			out = append(out, e)
		}
		if len(out) > maxSteps {
			s.err = ErrTooMuch
			return nil
		}
	}
	return out
}

// walkList gives an operator its list and the expression for each element.
func walkList(apply func(s *scope, list []any, e expr) any) func([]expr, []any) expr {
	return func(args []expr, _ []any) expr {
		return func(s *scope) any {
			list, _ := args[0](s).([]any)
			return apply(s, list, args[1])
		}
	}
}

func mapList(s *scope, list []any, e expr) any {
	out := make([]any, 0, len(list))
	for _, v := range list {
		if !s.step() {
			return nil
		}
		out = append(out, s.with(v, e))
	}
	return out
}

func filter(s *scope, list []any, e expr) any {
	out := []any{}
	for _, v := range list {
		if !s.step() {
			return nil
		}
		if truthy(s.with(v, e)) {
			out = append(out, v)
		}
	}
	return out
}

func reduce(args []expr, _ []any) expr {
	return func(s *scope) any {
		list, _ := args[0](s).([]any)
		sum := args[2](s)
		for _, v := range list {
			if !s.step() {
				return nil
			}
			sum = s.with(map[string]any{"current": v, "accumulator": sum}, args[1])
		}
		return sum
	}
}

// quantifier stops at the first element whose truth is stop, and is then found; else the opposite. All of an empty list is
// false, as JsonLogic has it.
func quantifier(stop, found bool) func(s *scope, list []any, e expr) any {
	return func(s *scope, list []any, e expr) any {
		for _, v := range list {
			if !s.step() {
				return nil
			}
			if truthy(s.with(v, e)) == stop {
				return found
			}
		}
		if len(list) == 0 && !stop {
			return false
		}
		return !found
	}
}

func compareText(holds func(text, part string) bool) func(a, b any) any {
	return func(a, b any) any {
		text, ok := a.(string)
		part, ok2 := b.(string)
		if !ok || !ok2 {
			return nil
		}
		return holds(text, part)
	}
}

// semVer compares two versions. One that cannot be read satisfies nothing.
func semVer(_ *scope, v []any) any {
	a, b := version(v[0]), version(v[2])
	if !semver.IsValid(a) || !semver.IsValid(b) {
		return false
	}
	order := semver.Compare(a, b)
	switch v[1] {
	case "=":
		return order == 0
	case "!=":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	case "^":
		return semver.Major(a) == semver.Major(b)
	case "~":
		return semver.MajorMinor(a) == semver.MajorMinor(b)
	}
	return false
}

func version(v any) string {
	text, _ := v.(string)
	return "v" + strings.TrimPrefix(text, "v")
}
