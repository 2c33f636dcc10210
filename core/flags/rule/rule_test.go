package rule_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/flags/rule"
)

func eval(t *testing.T, text, context string) (any, error) {
	t.Helper()
	r, err := rule.Compile([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var data map[string]any
	if err := json.Unmarshal([]byte(context), &data); err != nil {
		t.Fatal(err)
	}
	return r.Eval(data, "shop", time.Unix(1_700_000_000, 0))
}

// What JsonLogic's and flagd's documentation say.
func TestOperators(t *testing.T) {
	const context = `{"targetingKey": "u1", "n": 5, "zero": 0, "text": "hello", "empty": "", "list": [1, 2, 3], "none": [], "deep": {"a": {"b": "c"}}, "null": null}`
	for _, c := range []struct{ rule, want string }{
		{`true`, `true`},
		{`"on"`, `"on"`},
		{`{"a": 1, "b": 2}`, `{"a": 1, "b": 2}`},
		{`{"var": "n"}`, `5`},
		{`{"var": ["n"]}`, `5`},
		{`{"var": "deep.a.b"}`, `"c"`},
		{`{"var": "list.1"}`, `2`},
		{`{"var": "list.9"}`, `null`},
		{`{"var": ["no", 7]}`, `7`},
		{`{"var": ["null", 7]}`, `7`},
		{`{"var": {"cat": ["te", "xt"]}}`, `"hello"`},
		{`{"var": "$flagd.flagKey"}`, `"shop"`},
		{`{"var": "$flagd.timestamp"}`, `1700000000`},
		{`{"map": [[1, 2], {"var": ""}]}`, `[1, 2]`},
		{`{"missing": ["n", "no", "empty"]}`, `["no"]`},
		{`{"missing_some": [1, ["n", "no"]]}`, `[]`},
		{`{"missing_some": [2, ["n", "no"]]}`, `["no"]`},
		{`{"if": [{"var": "zero"}, "a", {"var": "n"}, "b", "c"]}`, `"b"`},
		{`{"if": [false, "a"]}`, `null`},
		{`{"if": ["a"]}`, `"a"`},
		{`{"?:": [true, 1, 2]}`, `1`},
		{`{"and": [1, "", 3]}`, `""`},
		{`{"and": [1, 2]}`, `2`},
		{`{"or": [0, [], "x"]}`, `"x"`},
		{`{"or": [0, false]}`, `false`},
		{`{"!": [[]]}`, `true`},
		{`{"!!": ["0"]}`, `true`},
		{`{"!": "x"}`, `false`},
		{`{"==": [1, "1"]}`, `true`},
		{`{"==": [0, false]}`, `true`},
		{`{"==": [null, 0]}`, `false`},
		{`{"===": [1, "1"]}`, `false`},
		{`{"!=": [1, 2]}`, `true`},
		{`{"!==": [1, "1"]}`, `true`},
		{`{"==": [["a"], "a"]}`, `true`},
		{`{"===": [["a"], ["a"]]}`, `false`},
		{`{"<": [1, 2]}`, `true`},
		{`{"<": ["10", "9"]}`, `true`},
		{`{"<": ["10", 9]}`, `false`},
		{`{"<": ["x", 9]}`, `false`},
		{`{">=": ["x", 9]}`, `false`},
		{`{"<": [1, {"var": "n"}, 9]}`, `true`},
		{`{"<=": [5, {"var": "n"}, 4]}`, `false`},
		{`{">": [9, 5, 1]}`, `true`},
		{`{"+": [1, "2", 3]}`, `6`},
		{`{"+": "3.5"}`, `3.5`},
		{`{"-": [5]}`, `-5`},
		{`{"-": [5, 2]}`, `3`},
		{`{"*": [2, 3, 4]}`, `24`},
		{`{"/": [9, 2]}`, `4.5`},
		{`{"%": [7, 3]}`, `1`},
		{`{"max": [1, 5, 3]}`, `5`},
		{`{"min": [4, 2]}`, `2`},
		{`{"in": ["ell", {"var": "text"}]}`, `true`},
		{`{"in": [2, {"var": "list"}]}`, `true`},
		{`{"in": ["2", {"var": "list"}]}`, `false`},
		{`{"in": [null, {"var": "text"}]}`, `false`},
		{`{"in": [1, null]}`, `false`},
		{`{"cat": ["a", 1, true, null]}`, `"a1true"`},
		{`{"substr": ["jsonlogic", 4]}`, `"logic"`},
		{`{"substr": ["jsonlogic", -5]}`, `"logic"`},
		{`{"substr": ["jsonlogic", 1, 3]}`, `"son"`},
		{`{"substr": ["jsonlogic", 4, -2]}`, `"log"`},
		{`{"substr": ["zoë", -1]}`, `"ë"`},
		{`{"substr": ["a", 9, 1e300]}`, `""`},
		{`{"merge": [[1, 2], 3, [4]]}`, `[1, 2, 3, 4]`},
		{`{"filter": [{"var": "list"}, {">": [{"var": ""}, 1]}]}`, `[2, 3]`},
		{`{"reduce": [{"var": "list"}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]}`, `6`},
		{`{"all": [{"var": "list"}, {">": [{"var": ""}, 0]}]}`, `true`},
		{`{"all": [{"var": "none"}, true]}`, `false`},
		{`{"some": [{"var": "list"}, {"==": [{"var": ""}, 3]}]}`, `true`},
		{`{"none": [{"var": "list"}, {"==": [{"var": ""}, 9]}]}`, `true`},
		{`{"none": [{"var": "none"}, true]}`, `true`},
		{`{"map": [{"var": "no"}, 1]}`, `[]`},
		{`{"starts_with": [{"var": "text"}, "he"]}`, `true`},
		{`{"ends_with": [{"var": "text"}, "lo"]}`, `true`},
		{`{"ends_with": [{"var": "n"}, "5"]}`, `null`},
		{`{"sem_ver": ["1.10.0", ">", "1.9.0"]}`, `true`},
		{`{"sem_ver": ["v1.2.3", "=", "1.2.3"]}`, `true`},
		{`{"sem_ver": ["1.2.3", "^", "1.9.9"]}`, `true`},
		{`{"sem_ver": ["1.2.3", "~", "1.3.0"]}`, `false`},
		{`{"sem_ver": ["1.0.0-rc.1", "<", "1.0.0"]}`, `true`},
		{`{"sem_ver": ["x", "!=", "1.0.0"]}`, `false`},
		{`{"sem_ver": ["1.0.0", "?", "1.0.0"]}`, `false`},
		{`{"fractional": [["only"]]}`, `"only"`},
		{`{"fractional": ["k", ["a", 0], ["b", 1]]}`, `"b"`},
		{`{"fractional": ["k", ["a", 0]]}`, `null`},
		{`{"fractional": ["k", ["a", -1], ["b", 9]]}`, `null`},
		{`{"fractional": ["k", ["a", 0.5], ["b", 9]]}`, `null`},
		{`{"fractional": ["k", "a"]}`, `null`},
		{`{"fractional": ["", ["a", 1]]}`, `null`},
		{`{"fractional": [{"var": "no"}, ["a", 1]]}`, `"a"`},
	} {
		var want any
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		got, err := eval(t, c.rule, context)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, %v; want %v", c.rule, got, err, want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct{ rule, want string }{
		{`{"exec": ["rm"]}`, `unknown operator "exec"; there are`},
		{`{"if": [true, {"log": 1}]}`, `unknown operator "log"`},
		{`{"==": [1]}`, `operator "==" takes 2 arguments, not 1`},
		{`{"sem_ver": ["1.0.0", ">"]}`, `operator "sem_ver" takes 3 arguments`},
		{`{"if": []}`, `takes 1 arguments or more`},
		{`{"if": `, `a rule is JSON`},
		{strings.Repeat(`{"!":`, 100) + `1` + strings.Repeat(`}`, 100), `nested at most`},
	} {
		if _, err := rule.Compile([]byte(c.rule)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v; want %s", c.rule, err, c.want)
		}
	}
}

// Whoever asks chooses the context: it must not be able to keep a processor busy, or fill the memory.
func TestWorkIsBounded(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 10_000), ",") + "]"
	for _, text := range []string{
		`{"map": [{"var": "l"}, {"map": [` + list + `, 1]}]}`,
		`{"reduce": [{"var": "l"}, {"cat": [{"var": "accumulator"}, {"var": "accumulator"}]}, "x"]}`,
		`{"reduce": [{"var": "l"}, {"merge": [{"var": "accumulator"}, {"var": "accumulator"}]}, [1]]}`,
		`{"all": [{"var": "l"}, {"all": [` + list + `, {"!": [{"var": "x"}]}]}]}`,
	} {
		if v, err := eval(t, text, `{"l": `+list+`}`); !errors.Is(err, rule.ErrTooMuch) {
			t.Errorf("%.60s = %T, %v; want it given up", text, v, err)
		}
	}
}

// The share of a percentage is what was said, whatever the ids look like, and the same clients are in every share of the
// same size: that of a flag, and that of a canary, which divides by the same bucket.
func TestShareOfIDs(t *testing.T) {
	const ids = 100_000
	for kind, id := range map[string]func(i int) string{
		"numbers": func(i int) string { return fmt.Sprint(i) },
		"users":   func(i int) string { return fmt.Sprintf("user-%06d", i) },
		"mails":   func(i int) string { return fmt.Sprintf("%d@example.org", i) },
		"uuids":   func(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i*7919, i) },
	} {
		for _, percent := range []uint32{1, 25, 50} {
			r, err := rule.Compile(fmt.Appendf(nil, `{"fractional": [{"var": "targetingKey"}, ["on", %d], ["off", %d]]}`, percent, 100-percent))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for i := range ids {
				v, err := r.Eval(map[string]any{"targetingKey": id(i)}, "shop", time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				in := rule.Share(rule.Bucket(id(i)), 100) < percent
				if (v == "on") != in {
					t.Fatalf("%s is in %d %% of the traffic: %v, of the flag: %v", id(i), percent, in, v)
				}
				if in {
					n++
				}
			}
			if share := 100 * float64(n) / ids; math.Abs(share-float64(percent)) > 0.5 {
				t.Errorf("%s: %.2f %% of the ids are in %d %%", kind, share, percent)
			}
		}
	}
}

// The reference values of MurmurHash3_x86_32 with seed 0: a router that divides clients must give the same.
func TestBucketIsMurmur3(t *testing.T) {
	for key, want := range map[string]uint32{"": 0, "hello": 0x248bfa47, "hello, world": 0x149bbb7f, "The quick brown fox jumps over the lazy dog": 0x2e4ff723} {
		if got := rule.Bucket(key); got != want {
			t.Errorf("bucket of %q = %#x, want %#x", key, got, want)
		}
	}
}
