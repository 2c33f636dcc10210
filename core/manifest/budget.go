package manifest

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Limits of what the expressions of a manifest may compute. A manifest is also read from people who are not trusted,
// by programs that serve others: a few nested loops must not take their memory. The largest of the examples needs
// 1 ms and 100 KiB, so that both limits are far from anything that people write.
const (
	maxTime   = time.Second
	maxMemory = 64 << 20 // bytes of values, also of those that only live within an expression
	// valueSize is what one value takes beside its text: cty's own size, a place in a list and its text's header.
	valueSize = 64
	// maxDigits is the longest text that is read as a number: to read one takes the square of its length.
	maxDigits = 4096
)

// budget is what is left of the limits. It is for one goroutine.
type budget struct {
	left      int
	time      time.Duration
	steps     int
	started   time.Time
	depth     int             // of evaluations
	at        hcl.Range       // of what is evaluated
	exceeded  *hcl.Diagnostic // once the limits were reached, each evaluation ends with it
	functions map[string]function.Function
}

func newBudget(functions map[string]function.Function) *budget {
	b := &budget{left: maxMemory, time: maxTime, functions: map[string]function.Function{}}
	for name, f := range functions {
		b.functions[name] = b.limit(name, f)
	}
	return b
}

// value evaluates an expression within the limits.
func (b *budget) value(expr hclsyntax.Expression, vars map[string]cty.Value) (cty.Value, hcl.Diagnostics) {
	return b.evaluate(expr, &hcl.EvalContext{Variables: vars, Functions: b.functions})
}

// constant evaluates an expression without references and functions.
func (b *budget) constant(expr hclsyntax.Expression) (cty.Value, hcl.Diagnostics) {
	return b.evaluate(expr, nil)
}

func (b *budget) evaluate(expr hclsyntax.Expression, ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if b.depth == 0 {
		b.started = time.Now()
		defer func() { b.time -= time.Since(b.started) }()
	}
	b.depth++
	defer func() { b.depth-- }()
	v, diags := b.guard(expr, false).Value(ctx)
	if b.exceeded != nil { // whatever the function try made of it
		return cty.DynamicVal, hcl.Diagnostics{b.exceeded}
	}
	return v, diags
}

// errLimit ends a function. Its text is not shown: budget.exceeded is.
var errLimit = errors.New("over the limit")

// spend takes from the memory that is left, and says whether it and the time suffice.
func (b *budget) spend(bytes int) bool {
	b.left -= min(bytes, maxMemory+1)
	b.steps++
	switch {
	case b.exceeded != nil:
	case b.left < 0:
		b.exceed("Expression too large", fmt.Sprintf(
			"The expressions of a manifest may make %d MiB of values; with this one they make more. Let a command of a stage compute it.", maxMemory>>20))
	case (b.steps%128 == 0 || bytes > 1<<16) && b.overtime():
		b.exceed("Expression too slow", fmt.Sprintf(
			"The expressions of a manifest may take %v; with this one they take longer. Let a command of a stage compute it.", maxTime))
	}
	return b.exceeded == nil
}

func (b *budget) overtime() bool { return time.Since(b.started) > b.time }

func (b *budget) exceed(summary, detail string) {
	if b.exceeded == nil {
		at := b.at
		b.exceeded = &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: &at}
	}
}

// diags is the error that says where the limits were reached, if they were.
func (b *budget) diags() hcl.Diagnostics {
	if b.exceeded == nil {
		return nil
	}
	return hcl.Diagnostics{b.exceeded}
}

// size is what a value takes, when that is no more than most, and the largest exponent of a number in it.
func size(v cty.Value, most int) (bytes, exponent int) {
	v, _ = v.Unmark()
	bytes = valueSize
	t := v.Type()
	switch {
	case !v.IsKnown() || v.IsNull():
	case t == cty.String:
		bytes += len(v.AsString())
	case t == cty.Number:
		if f := v.AsBigFloat(); !f.IsInf() {
			exponent = max(f.MantExp(nil), -f.MantExp(nil))
		}
	case v.CanIterateElements():
		for it := v.ElementIterator(); it.Next() && bytes <= most; {
			_, x := it.Element()
			n, e := size(x, most-bytes)
			bytes += n
			exponent = max(exponent, e)
		}
	}
	return bytes, exponent
}

// guarded is an expression that is evaluated within the limits.
type guarded struct {
	hclsyntax.Expression
	*budget
	shallow bool // the value was counted where it was made
	number  bool // the value is going to be read as one
}

func (g *guarded) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	around := g.at
	g.at = g.Range()
	defer func() { g.at = around }()
	if !g.spend(valueSize) {
		return cty.DynamicVal, hcl.Diagnostics{g.exceeded}
	}
	v, diags := g.Expression.Value(ctx)
	if g.exceeded != nil {
		return cty.DynamicVal, hcl.Diagnostics{g.exceeded}
	}
	plain, _ := v.Unmark()
	if g.shallow && !plain.Type().IsPrimitiveType() {
		return v, diags
	}
	n, exponent := size(v, g.left)
	if !g.spend(n - valueSize) {
		return cty.DynamicVal, hcl.Diagnostics{g.exceeded}
	}
	if exponent > maxExponent || g.number && longNumber(v) {
		g.exceed("Number out of range", "The number is too large, or has too many decimals.")
		return cty.DynamicVal, hcl.Diagnostics{g.exceeded}
	}
	return v, diags
}

// longNumber reports whether a value holds a text that takes long to be read as a number, or to be written as one.
func longNumber(v cty.Value) bool {
	found := false
	_ = cty.Walk(unmarked(v), func(_ cty.Path, x cty.Value) (bool, error) {
		if found || !x.IsKnown() || x.IsNull() || x.Type() != cty.String {
			return !found, nil
		}
		text := x.AsString()
		if found = len(text) > maxDigits; !found && strings.ContainsAny(text, "eEpP") {
			if n, err := cty.ParseNumberVal(text); err == nil {
				_, exponent := size(n, 0)
				found = exponent > maxExponent
			}
		}
		return !found, nil
	})
	return found
}

// guard copies an expression so that each part of it is evaluated within the limits. number says that the value is
// going to be read as a number.
func (b *budget) guard(expr hclsyntax.Expression, number bool) hclsyntax.Expression {
	g := &guarded{Expression: expr, budget: b, number: number}
	switch x := expr.(type) {
	case nil:
		return nil
	case *guarded, *hclsyntax.AnonSymbolExpr, *hclsyntax.ExprSyntaxError:
		return expr
	case *hclsyntax.LiteralValueExpr, *hclsyntax.ScopeTraversalExpr:
		g.shallow = true
	case *hclsyntax.ParenthesesExpr:
		c := *x
		c.Expression = b.guard(x.Expression, number)
		g.Expression, g.shallow = &c, true
	case *hclsyntax.RelativeTraversalExpr:
		c := *x
		c.Source = b.guard(x.Source, false)
		g.Expression, g.shallow = &c, true
	case *hclsyntax.IndexExpr:
		c := *x
		c.Collection, c.Key = b.guard(x.Collection, false), b.guard(x.Key, true)
		g.Expression, g.shallow = &c, true
	case *hclsyntax.FunctionCallExpr:
		c := *x
		c.Args = b.arguments(x)
		g.Expression = &c
	case *hclsyntax.ConditionalExpr:
		c := *x
		c.Condition, c.TrueResult, c.FalseResult = b.guard(x.Condition, false), b.guard(x.TrueResult, number), b.guard(x.FalseResult, number)
		g.Expression = &c
	case *hclsyntax.BinaryOpExpr:
		c := *x
		reads := x.Op.Type == cty.Number || x.Op != hclsyntax.OpEqual && x.Op != hclsyntax.OpNotEqual
		c.LHS, c.RHS = b.guard(x.LHS, reads), b.guard(x.RHS, reads)
		g.Expression = &c
	case *hclsyntax.UnaryOpExpr:
		c := *x
		c.Val = b.guard(x.Val, true)
		g.Expression = &c
	default:
		g.Expression = b.compound(expr)
	}
	return g
}

// compound is guard for what makes lists, maps and texts.
func (b *budget) compound(expr hclsyntax.Expression) hclsyntax.Expression {
	all := func(list []hclsyntax.Expression) []hclsyntax.Expression {
		out := make([]hclsyntax.Expression, len(list))
		for i, x := range list {
			out[i] = b.guard(x, false)
		}
		return out
	}
	switch x := expr.(type) {
	case *hclsyntax.TupleConsExpr:
		c := *x
		c.Exprs = all(x.Exprs)
		return &c
	case *hclsyntax.ObjectConsExpr:
		c := *x
		c.Items = slices.Clone(x.Items)
		for i, item := range x.Items {
			if key, ok := item.KeyExpr.(*hclsyntax.ObjectConsKeyExpr); ok && hcl.ExprAsKeyword(key.Wrapped) == "" {
				k := *key
				k.Wrapped = b.guard(key.Wrapped, false)
				c.Items[i].KeyExpr = &k
			}
			c.Items[i].ValueExpr = b.guard(item.ValueExpr, false)
		}
		return &c
	case *hclsyntax.ForExpr:
		c := *x
		c.CollExpr, c.KeyExpr, c.ValExpr, c.CondExpr = b.guard(x.CollExpr, false), b.guard(x.KeyExpr, false), b.guard(x.ValExpr, false), b.guard(x.CondExpr, false)
		return &c
	case *hclsyntax.SplatExpr:
		c := &hclsyntax.SplatExpr{Source: b.guard(x.Source, false), Item: x.Item, SrcRange: x.SrcRange, MarkerRange: x.MarkerRange}
		c.Each = b.guard(x.Each, false)
		return c
	case *hclsyntax.TemplateExpr:
		c := *x
		c.Parts = all(x.Parts)
		return &c
	case *hclsyntax.TemplateWrapExpr:
		c := *x
		c.Wrapped = b.guard(x.Wrapped, false)
		return &c
	case *hclsyntax.TemplateJoinExpr:
		c := *x
		c.Tuple = b.guard(x.Tuple, false)
		return &c
	}
	return expr
}

func (b *budget) arguments(call *hclsyntax.FunctionCallExpr) []hclsyntax.Expression {
	f := b.functions[call.Name]
	out := make([]hclsyntax.Expression, len(call.Args))
	for i, x := range call.Args {
		number := false
		if _, known := b.functions[call.Name]; known {
			if params := f.Params(); i < len(params) {
				number = numeric(params[i].Type)
			} else if more := f.VarParam(); more != nil {
				number = numeric(more.Type)
			}
		}
		out[i] = b.guard(x, number || call.Name == "tonumber" || call.Name == "parseint")
	}
	return out
}

func numeric(t cty.Type) bool {
	return t == cty.Number || t.IsCollectionType() && t.ElementType() == cty.Number
}

// limit makes a function that pays for its work before it does it.
func (b *budget) limit(name string, f function.Function) function.Function {
	open := func(p function.Parameter) function.Parameter { // f looks at its arguments itself
		p.AllowNull, p.AllowUnknown, p.AllowDynamicType, p.AllowMarked = true, true, true, true
		return p
	}
	spec := &function.Spec{
		Type: func(args []cty.Value) (cty.Type, error) {
			if !b.spend(cost(name, args, b.left)) {
				return cty.DynamicPseudoType, errLimit
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if slices.Contains([]string{"file", "fileexists", "glob"}, name) { // a slow disk is nobody's fault
				defer func(start time.Time) { b.time += time.Since(start) }(time.Now())
			}
			return f.Call(args)
		},
	}
	for _, p := range f.Params() {
		spec.Params = append(spec.Params, open(p))
	}
	if p := f.VarParam(); p != nil {
		more := open(*p)
		spec.VarParam = &more
	}
	return function.New(spec)
}

// cost is what a function makes at most of its arguments, in bytes, or how long it takes, when that is more: one for
// each 16 ns, about.
func cost(name string, args []cty.Value, most int) int {
	total, sizes := 0, make([]int, len(args))
	texts := make([]string, len(args))
	lengths := make([]int, len(args)) // of lists
	for i, a := range args {
		v := unmarked(a)
		sizes[i], _ = size(v, most)
		total += sizes[i]
		if !v.IsKnown() || v.IsNull() {
			continue
		}
		if v.Type() == cty.String {
			texts[i] = v.AsString()
		} else if v.CanIterateElements() {
			lengths[i] = v.LengthInt()
		}
	}
	if total > most || len(args) == 0 {
		return total
	}
	switch name {
	case "setproduct":
		return product(append(lengths, valueSize*(len(args)+1)+total/max(sum(lengths), 1))...)
	case "distinct":
		return product(lengths[0], sizes[0]/16)
	case "join":
		return total + product(len(texts[0]), sum(lengths))
	case "split":
		return total + product(strings.Count(texts[len(texts)-1], texts[0])+1, valueSize)
	case "jsondecode":
		return total + valueSize*marks(texts[0], ",[{:")
	case "csvdecode":
		return total + valueSize*marks(texts[0], ",\n")
	case "jsonencode":
		return total + product(total, 5)
	case "indent":
		return total + product(wholeNumber(args[0]), strings.Count(texts[len(texts)-1], "\n")+1)
	case "substr", "length", "strrev":
		return product(total, 8)
	case "format", "formatlist":
		if _, exponent := size(cty.TupleVal(args[1:]), most); exponent > maxExponent || slices.ContainsFunc(args[1:], unwritable) {
			return math.MaxInt32
		}
		verbs, widths := verbs(texts[0])
		longest := max(slices.Max(lengths), 1)
		scalars := 0
		for i := range sizes {
			if lengths[i] == 0 {
				scalars += sizes[i]
			}
		}
		return product(verbs+1, total) + product(longest, scalars) + product(longest, widths) + product(longest, product(verbs, valueSize))
	case "replace":
		return total + replaced(texts)
	case "regex", "regexall":
		return total + searched(texts[0], texts[len(texts)-1])
	}
	return total
}

// unwritable is longNumber, but for texts that are no numbers.
func unwritable(v cty.Value) bool {
	found := false
	_ = cty.Walk(unmarked(v), func(_ cty.Path, x cty.Value) (bool, error) {
		if x.IsKnown() && !x.IsNull() && x.Type() == cty.String && strings.Trim(x.AsString(), "0123456789+-.eE") == "" {
			found = found || longNumber(x)
		}
		return !found, nil
	})
	return found
}

// product does not overflow: what is larger than the limits is all the same.
func product(factors ...int) int {
	p := 1
	for _, f := range factors {
		if f > 0 && p > math.MaxInt32/f {
			return math.MaxInt32
		}
		p *= f
	}
	return p
}

func sum(list []int) (n int) {
	for _, x := range list {
		n += x
	}
	return n
}

func marks(text, set string) (n int) {
	for i := range len(set) {
		n += strings.Count(text, set[i:i+1])
	}
	return n
}

func wholeNumber(v cty.Value) int {
	if v = unmarked(v); v.Type() != cty.Number || !v.IsKnown() || v.IsNull() {
		return 0
	}
	n, _ := v.AsBigFloat().Int64()
	return int(min(max(n, 0), math.MaxInt32))
}

var verbPattern = regexp.MustCompile(`%[^A-Za-z%]*`)

// verbs counts what a format writes, and adds up the widths that it asks for.
func verbs(format string) (n, widths int) {
	for _, v := range verbPattern.FindAllString(format, -1) {
		n++
		for digits := range strings.FieldsFuncSeq(v, func(r rune) bool { return r < '0' || r > '9' }) {
			if w, err := strconv.Atoi(digits); err != nil || widths+w > math.MaxInt32 {
				widths = math.MaxInt32
			} else {
				widths += w
			}
		}
	}
	return n, widths
}

// replaced is what replace makes, at most.
func replaced(texts []string) int {
	if len(texts) != 3 {
		return 0
	}
	text, part, by := texts[0], texts[1], texts[2]
	if len(part) > 1 && strings.HasPrefix(part, "/") && strings.HasSuffix(part, "/") {
		pattern := part[1 : len(part)-1]
		n := matches(pattern, text)
		return searched(pattern, text) + product(n, len(by)) + product(len(text), strings.Count(by, "$"))
	}
	return product(strings.Count(text, part), len(by))
}

// searched is what a search for a pattern costs: its time, which grows with the steps that the pattern has, and a
// value for each match and each group in it.
func searched(pattern, text string) int {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0 // said by the function
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0
	}
	time := product(len(program.Inst), len(text)/2)
	if time > maxMemory {
		return time
	}
	return time + product(matches(pattern, text), valueSize, 1+tree.MaxCap())
}

// matches counts the matches of a pattern, as far as that matters.
func matches(pattern, text string) int {
	p, err := regexp.Compile(pattern)
	if err != nil {
		return 0
	}
	return len(p.FindAllStringIndex(text, maxMemory/valueSize))
}
