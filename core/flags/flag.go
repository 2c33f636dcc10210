package flags

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core/flags/rule"
)

// The states of a flag. A disabled flag has no value: its readers use the default in their code.
const (
	Enabled  = "ENABLED"
	Disabled = "DISABLED"
)

// The keys of a flag's metadata that troop gives a meaning.
const (
	Owner   = "owner"   // who answers for the flag
	Ends    = "ends"    // the day, as 2006-01-02, after which the flag is stale
	Release = "release" // the release that the flag came with and is switched off with
)

const (
	dateLayout = time.DateOnly
	maxSize    = 1 << 16 // bytes of a flag as JSON
	maxSafe    = 1<<53 - 1
)

// Flag is a feature flag as it is kept. Variants, default, targeting, state and metadata are flagd's.
type Flag struct {
	Version   int64           `json:"version"`         // counts the changes
	Fence     int64           `json:"fence,omitempty"` // of who signed it
	Name      string          `json:"name"`
	Value     any             `json:"value"` // what a reader without a context gets; nil: the default in the reader's code
	State     string          `json:"state,omitempty"`
	Variants  map[string]any  `json:"variants,omitempty"`
	Default   string          `json:"defaultVariant,omitempty"` // empty: the default in the reader's code
	Targeting json.RawMessage `json:"targeting,omitempty"`      // JsonLogic that chooses a variant; package rule
	Metadata  map[string]any  `json:"metadata,omitempty"`       // booleans, strings and numbers
	Updated   time.Time       `json:"updated"`
	By        string          `json:"by"`
	Reason    string          `json:"reason,omitempty"` // of the last change
	Unset     bool            `json:"unset,omitempty"`  // the flag is no more
}

// The kinds of values that a flag can have.
const (
	Boolean = "boolean"
	String  = "string"
	Number  = "number"
	Object  = "object"
)

// TypeOf is the type of a value that a flag can have, and empty for any other.
func TypeOf(v any) string {
	switch v.(type) {
	case bool:
		return Boolean
	case string:
		return String
	case float64:
		return Number
	case map[string]any:
		return Object
	}
	return ""
}

// Type is that of the flag's variants.
func (f Flag) Type() string {
	for _, v := range f.Variants {
		return TypeOf(v)
	}
	return ""
}

// Older reports whether the flag was followed by another. Not the version decides, which starts anew when Redis has lost it.
func (f Flag) Older(than Flag) bool {
	if f.Fence != than.Fence {
		return f.Fence < than.Fence
	}
	return f.Updated.Before(than.Updated)
}

// Text is the string under a key of the metadata.
func (f Flag) Text(key string) string {
	s, _ := f.Metadata[key].(string)
	return s
}

// Stale reports whether the flag's end date has passed.
func (f Flag) Stale(now time.Time) bool {
	ends, err := time.ParseInLocation(dateLayout, f.Text(Ends), now.Location())
	return err == nil && !now.Before(ends.AddDate(0, 0, 1))
}

// Parse reads a value as an operator writes it. Without a type, true and false are booleans, a number in its shortest
// spelling is a number, and all else is a string: 1.10, null and {} are. With one, text that does not fit is refused.
func Parse(text, typ string) (any, error) {
	n, err := strconv.ParseFloat(text, 64)
	isNumber := err == nil && !math.IsInf(n, 0) && !math.IsNaN(n)
	switch typ {
	case "":
		switch {
		case text == "true", text == "false":
			return text == "true", nil
		case isNumber && strconv.FormatFloat(n, 'f', -1, 64) == text && math.Abs(n) <= maxSafe:
			return n, nil
		}
		return text, nil
	case String:
		return text, nil
	case Boolean:
		if text == "true" || text == "false" {
			return text == "true", nil
		}
	case Number:
		if isNumber && !strings.ContainsAny(text, "_xXpP") {
			return n, nil
		}
	case Object:
		var v map[string]any
		if json.Unmarshal([]byte(text), &v) == nil && v != nil {
			return v, nil
		}
	default:
		return nil, fmt.Errorf("type %q: want boolean, string, number or object", typ)
	}
	return nil, fmt.Errorf("%q is not a value of type %s", text, typ)
}

// Names of flags, as flagd's files have them, without what is hard to write in a URL.
var valid = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// CheckName refuses names that would be hard to write in code, in a URL or on a command line.
func CheckName(name string) error {
	if !valid.MatchString(name) {
		return fmt.Errorf("flag name %q: want letters, digits, '.', '_' and '-', at most 100", name)
	}
	return nil
}

// compiled is a flag whose rule can be evaluated.
type compiled struct {
	Flag
	rule *rule.Rule // nil: none
	err  error      // why the flag cannot be evaluated
	off  bool       // its release was stopped
}

// compile checks a flag. A flag as an earlier version wrote it, with a value and no variants, is read as what it means.
func compile(f Flag) compiled {
	if f.State == "" && f.Variants == nil && f.Value != nil {
		f = f.give(f.Value)
	}
	c := compiled{Flag: f}
	c.err = c.check()
	return c
}

func (c *compiled) check() error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("flag %s: %w", c.Name, fmt.Errorf(format, args...))
	}
	if c.State != Enabled && c.State != Disabled {
		return wrong("state %q: want %s or %s", c.State, Enabled, Disabled)
	}
	if len(c.Variants) == 0 {
		return wrong("no variants")
	}
	typ := c.Type()
	for _, name := range slices.Sorted(maps.Keys(c.Variants)) {
		switch got := TypeOf(c.Variants[name]); {
		case got == "":
			return wrong("variant %q: want true or false, a string, a number or an object", name)
		case got != typ:
			return wrong("variants of different types: %s and %s", typ, got)
		}
	}
	if _, ok := c.Variants[c.Default]; c.Default != "" && !ok {
		return wrong("the default variant %q is not one of its variants", c.Default)
	}
	for key, v := range c.Metadata {
		if t := TypeOf(v); t == "" || t == Object {
			return wrong("metadata %q: want true or false, a string or a number", key)
		}
	}
	if ends := c.Text(Ends); ends != "" {
		if _, err := time.Parse(dateLayout, ends); err != nil {
			return wrong("end date %q: want a day such as 2026-12-31", ends)
		}
	}
	if !c.targeted() {
		return nil
	}
	var err error
	if c.rule, err = rule.Compile(c.Targeting); err != nil {
		return wrong("targeting: %w", err)
	}
	return nil
}

func (f Flag) targeted() bool {
	text := strings.TrimSpace(string(f.Targeting))
	return text != "" && text != "{}" && text != "null"
}

// give is the flag with one value for everybody. A boolean keeps both variants, so that its rule can be added elsewhere.
func (f Flag) give(v any) Flag {
	f.State, f.Default, f.Targeting = Enabled, "on", nil
	f.Variants = map[string]any{"on": v}
	if on, ok := v.(bool); ok {
		f.Variants = map[string]any{"on": true, "off": false}
		if !on {
			f.Default = "off"
		}
	}
	return f
}

// Split says for whom a flag has a value of its own.
type Split struct {
	When    json.RawMessage // a condition in JsonLogic; empty: everybody
	Percent float64         // the share of those by their targetingKey; at most two decimals
	Else    any             // the value of all others; nil for a boolean: the opposite
}

// Give is the flag with a value for those whom the split names, and another for the rest. Without a split, everybody gets
// the value. A share divides by the context's targetingKey alone, as a canary's share of clients does, so that the clients
// in 5 % of one are the clients in 5 % of the other.
func (f Flag) Give(v any, to *Split) (Flag, error) {
	if n, ok := v.(int); ok {
		v = float64(n)
	}
	if TypeOf(v) == "" {
		return f, fmt.Errorf("flag %s: a value is true or false, a string, a number or an object, not %T", f.Name, v)
	}
	if to == nil {
		return f.give(v), nil
	}
	other := to.Else
	if on, ok := v.(bool); ok && other == nil {
		other = !on
	}
	if TypeOf(other) != TypeOf(v) {
		return f, fmt.Errorf("flag %s: say what the others get, of the type %s", f.Name, TypeOf(v))
	}
	on, off := "on", "off"
	if v == false {
		on, off = off, on
	}
	f.State, f.Default = Enabled, off
	f.Variants = map[string]any{on: v, off: other}
	var choose any = on
	if to.Percent < 100 {
		hundredths := math.Round(to.Percent * 100)
		if to.Percent < 0 || math.Abs(hundredths-to.Percent*100) > 1e-6 {
			return f, errors.New("want a share from 0 to 100 percent with at most two decimals")
		}
		part, whole := hundredths, 10_000.0
		if math.Mod(part, 100) == 0 {
			part, whole = part/100, 100
		}
		choose = map[string]any{"fractional": []any{
			map[string]any{"var": "targetingKey"}, []any{on, part}, []any{off, whole - part},
		}}
	}
	if len(to.When) > 0 {
		choose = map[string]any{"if": []any{to.When, choose, off}}
	}
	var err error
	f.Targeting, err = json.Marshal(choose)
	return f, err
}

// Same reports whether two flags mean the same, whatever their history.
func (f Flag) Same(g Flag) bool {
	meaning := func(f Flag) any {
		var rule any
		if f.targeted() {
			_ = json.Unmarshal(f.Targeting, &rule)
		}
		metadata := f.Metadata
		if len(metadata) == 0 {
			metadata = nil
		}
		return []any{f.State, f.Default, rule, f.Variants, metadata}
	}
	return reflect.DeepEqual(meaning(f), meaning(g))
}
