package rule

import (
	"math"
	"strconv"
	"strings"
)

// truthy is JsonLogic's: as in JavaScript, except that an empty list is false.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0 && !math.IsNaN(v)
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	}
	return true
}

// toNumber is JavaScript's Number(v).
func toNumber(v any) float64 {
	switch v := v.(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case float64:
		return v
	case string:
		text := strings.TrimSpace(v)
		if text == "" {
			return 0
		}
		if n, err := strconv.ParseFloat(text, 64); err == nil && !strings.ContainsAny(text, "_xXpPnN") {
			return n
		}
	case []any:
		return toNumber(toString(v))
	}
	return math.NaN()
}

// toString is JavaScript's String(v); nil is empty, as it is in a joined list.
func toString(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = toString(e)
		}
		return strings.Join(parts, ",")
	}
	return "[object Object]"
}

// strictEqual is JavaScript's ===. Lists and objects are equal to nothing.
func strictEqual(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case bool:
		b, ok := b.(bool)
		return ok && a == b
	case float64:
		b, ok := b.(float64)
		return ok && a == b
	case string:
		b, ok := b.(string)
		return ok && a == b
	}
	return false
}

// looseEqual is JavaScript's ==.
func looseEqual(a, b any) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	_, aText := a.(string)
	_, bText := b.(string)
	switch {
	case composite(a) && composite(b):
		return false
	case composite(a) && bText, aText && composite(b), aText && bText:
		return toString(a) == toString(b)
	}
	return toNumber(a) == toNumber(b)
}

func composite(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}

// less is JavaScript's <.
func less(a, b any) bool {
	x, xText := a.(string)
	y, yText := b.(string)
	if xText && yText {
		return x < y
	}
	return toNumber(a) < toNumber(b)
}

// atMost is JavaScript's <=. What is no number compares with nothing.
func atMost(a, b any) bool {
	x, xText := a.(string)
	y, yText := b.(string)
	if xText && yText {
		return x <= y
	}
	return toNumber(a) <= toNumber(b)
}
