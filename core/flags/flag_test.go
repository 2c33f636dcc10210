package flags_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/flags"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text, typ string
		want      any // nil: refused
	}{
		{"true", "", true},
		{"false", "", false},
		{"TRUE", "", "TRUE"},
		{"3", "", 3.0},
		{"-0.25", "", -0.25},
		{"1.10", "", "1.10"},
		{"1.1.0", "", "1.1.0"},
		{"007", "", "007"},
		{"1e3", "", "1e3"},
		{"+1", "", "+1"},
		{"NaN", "", "NaN"},
		{"Inf", "", "Inf"},
		{"9007199254740993", "", "9007199254740993"},
		{"null", "", "null"},
		{`{"a":1}`, "", `{"a":1}`},
		{`"x"`, "", `"x"`},
		{"", "", ""},
		{"true", "string", "true"},
		{"3", "string", "3"},
		{"1.10", "number", 1.1},
		{"1e3", "number", 1000.0},
		{"1.10", "boolean", nil},
		{"x", "number", nil},
		{"0x10", "number", nil},
		{"NaN", "number", nil},
		{`{"a":[1]}`, "object", map[string]any{"a": []any{1.0}}},
		{"null", "object", nil},
		{"[1]", "object", nil},
		{"x", "text", nil},
	} {
		got, err := flags.Parse(c.text, c.typ)
		if (err == nil) != (c.want != nil) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q as %q is %#v, %v; want %#v", c.text, c.typ, got, err, c.want)
		}
	}
}

// copyOf is a copy that holds the flags.
func copyOf(t *testing.T, list ...flags.Flag) *flags.Snapshot {
	t.Helper()
	file := filepath.Join(t.TempDir(), "flags.json")
	data, err := json.Marshal(map[string]any{"flags": list})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return flags.OpenCopy(file, slog.New(slog.DiscardHandler)).Snapshot()
}

// The same rules choose the same variants as flagd's evaluator, whose answers testdata/flagd.mjs wrote down.
func TestAnswersAreFlagds(t *testing.T) {
	data, err := os.ReadFile("testdata/flagd.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		File     json.RawMessage
		Contexts []map[string]any
		Answers  [][]any
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	list, err := flags.Import(golden.File)
	if err != nil {
		t.Fatal(err)
	}
	if len(golden.Answers) < 400 {
		t.Fatalf("only %d answers", len(golden.Answers))
	}
	s := copyOf(t, list...)
	for _, a := range golden.Answers {
		name, context := a[0].(string), golden.Contexts[int(a[1].(float64))]
		if got := s.Evaluate(name, context); got.Variant != a[2] || got.Reason != a[3] {
			t.Errorf("%s for %v: %+v; flagd says %v", name, context, got, a[2:])
		}
	}
}

func TestImportExport(t *testing.T) {
	data, err := os.ReadFile("testdata/flagd.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ File json.RawMessage }
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	list, err := flags.Import(golden.File)
	if err != nil {
		t.Fatal(err)
	}
	out, err := flags.Export(list)
	if err != nil {
		t.Fatal(err)
	}
	again, err := flags.Import(out)
	if err != nil || len(again) != len(list) {
		t.Fatalf("%d flags, then %d, %v", len(list), len(again), err)
	}
	for i := range list {
		if !list[i].Same(again[i]) || list[i].Text("team") != "shop" {
			t.Errorf("%+v came back as %+v", list[i], again[i])
		}
	}
	changed := again[0]
	changed.Default = "other"
	if list[0].Same(changed) {
		t.Error("a flag with another default is the same")
	}
}

func TestImportRefuses(t *testing.T) {
	one := func(flag string) string { return `{"flags": {"x": ` + flag + `}}` }
	for _, c := range []struct{ file, want string }{
		{`[]`, "read a file of flagd's"},
		{`{"flags": {}}`, `no object "flags"`},
		{`{"flags": {"a b": {"variants": {"on": true}, "defaultVariant": "on"}}}`, `flag name "a b"`},
		{one(`{"state": "ON", "variants": {"on": true}, "defaultVariant": "on"}`), `flag x: state "ON": want ENABLED or DISABLED`},
		{one(`{"variants": {}}`), "flag x: no variants"},
		{one(`{"variants": {"a": 1, "b": "1"}, "defaultVariant": "a"}`), "variants of different types: "},
		{one(`{"variants": {"a": [1]}, "defaultVariant": "a"}`), `variant "a": want`},
		{one(`{"variants": {"a": 1}, "defaultVariant": "b"}`), `default variant "b"`},
		{one(`{"variants": {"a": 1}, "defaultVariant": "a", "metadata": {"x": {}}}`), `metadata "x"`},
		{one(`{"variants": {"a": 1}, "defaultVariant": "a", "metadata": {"ends": "soon"}}`), `end date "soon": want a day`},
		{one(`{"variants": {"a": 1}, "defaultVariant": "a", "targeting": {"run": "x"}}`), `flag x: targeting: unknown operator "run"`},
		{one(`{"variants": {"a": 1}, "defaultVariant": "a", "targeting": {"$ref": "y"}}`), `$ref "y" is not in $evaluators`},
		{`{"$evaluators": {"y": {"!": {"$ref": "y"}}}, "flags": {"x": {"variants": {"a": 1}, "targeting": {"$ref": "y"}}}}`, "goes in circles: y, y"},
	} {
		if _, err := flags.Import([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", c.file, err, c.want)
		}
	}
}

func TestGive(t *testing.T) {
	pro := json.RawMessage(`{"==": [{"var": "plan"}, "pro"]}`)
	give := func(v any, to *flags.Split) flags.Flag {
		t.Helper()
		f, err := flags.Flag{Name: "x"}.Give(v, to)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	share := func(f flags.Flag, context map[string]any, want any) float64 {
		s, n := copyOf(t, f), 0
		for i := range 10_000 {
			c := map[string]any{"targetingKey": "user-" + string(rune('a'+i%26)) + time.Duration(i).String()}
			maps.Copy(c, context)
			r := s.Evaluate("x", c)
			if r.Code != "" {
				t.Fatalf("%+v", r)
			}
			if r.Value == want {
				n++
			}
		}
		return float64(n) / 100
	}
	near := func(got, want float64) {
		t.Helper()
		if got < want-1.5 || got > want+1.5 {
			t.Errorf("%.2f %%, want %.2f", got, want)
		}
	}
	near(share(give(true, nil), nil, true), 100)
	near(share(give(true, &flags.Split{Percent: 25}), nil, true), 25)
	near(share(give(false, &flags.Split{Percent: 25}), nil, false), 25)
	near(share(give("blue", &flags.Split{Percent: 12.5, Else: "red"}), nil, "blue"), 12.5)
	near(share(give(true, &flags.Split{Percent: 100, When: pro}), map[string]any{"plan": "pro"}, true), 100)
	near(share(give(true, &flags.Split{Percent: 100, When: pro}), nil, true), 0)
	near(share(give(true, &flags.Split{Percent: 50, When: pro}), map[string]any{"plan": "pro"}, true), 50)
	if r := copyOf(t, give(true, &flags.Split{Percent: 50})).Evaluate("x", nil); r.Value != false || r.Reason != flags.ReasonDefault {
		t.Errorf("without a key to divide by: %+v", r)
	}
	for _, s := range []flags.Split{{Percent: -1}, {Percent: 0.001}, {Percent: 50, Else: "x"}} {
		if _, err := (flags.Flag{Name: "x"}).Give(true, &s); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	if _, err := (flags.Flag{Name: "x"}).Give("blue", &flags.Split{Percent: 50}); err == nil {
		t.Error("half of them get nothing")
	}
}

func TestEvaluationSaysWhatIsWrong(t *testing.T) {
	on := map[string]any{"on": true, "off": false}
	s := copyOf(t,
		flags.Flag{Name: "broken", State: flags.Enabled, Variants: on, Default: "on", Targeting: json.RawMessage(`{"run": 1}`)},
		flags.Flag{Name: "stray", State: flags.Enabled, Variants: on, Default: "on", Targeting: json.RawMessage(`{"/": [1, 0]}`)},
		flags.Flag{Name: "off", State: flags.Disabled, Variants: on, Default: "on", Metadata: map[string]any{"owner": "shop"}},
		flags.Flag{Name: "open", State: flags.Enabled, Variants: on},
	)
	for _, c := range []struct {
		name string
		want flags.Result
	}{
		{"none", flags.Result{Reason: flags.ReasonError, Code: flags.CodeNotFound, Detail: `flag "none" is not set`}},
		{"stray", flags.Result{Reason: flags.ReasonError, Code: flags.CodeParse, Detail: `flag stray: the rule chose "+Inf", which is not one of its variants`}},
		{"off", flags.Result{Reason: flags.ReasonDisabled, Metadata: map[string]any{"owner": "shop"}}},
		{"open", flags.Result{Reason: flags.ReasonDefault}},
	} {
		if got := s.Evaluate(c.name, nil); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if got := s.Evaluate("broken", nil); got.Code != flags.CodeParse || !strings.Contains(got.Detail, `unknown operator "run"`) {
		t.Errorf("broken: %+v", got)
	}
	if names := s.Names(); !reflect.DeepEqual(names, []string{"broken", "open", "stray"}) {
		t.Errorf("names: %v", names)
	}
}

func TestStale(t *testing.T) {
	f := flags.Flag{Metadata: map[string]any{flags.Ends: "2026-11-28"}}
	for at, want := range map[string]bool{"2026-11-27T12:00:00Z": false, "2026-11-28T23:59:59Z": false, "2026-11-29T00:00:00Z": true} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if f.Stale(now) != want {
			t.Errorf("stale at %s: %v", at, !want)
		}
	}
	if (flags.Flag{}).Stale(time.Now()) {
		t.Error("a flag without an end is stale")
	}
}
