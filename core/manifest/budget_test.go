package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// hostile are the texts of expressions that would take a machine's memory or an afternoon.
func hostile() map[string]string {
	nested := func(depth int, open, inner, shut string) string {
		return strings.Repeat(open, depth) + inner + strings.Repeat(shut, depth)
	}
	doubling := func(n int, first, next string) string { // locals, each twice the one before
		var b strings.Builder
		fmt.Fprintf(&b, "%s\n}\nlocals {\n", first)
		for i := range n {
			fmt.Fprintf(&b, "  a%d = %s\n", i+1, strings.ReplaceAll(next, "@", fmt.Sprintf("local.a%d", i)))
		}
		return b.String() + "}\nlocals {\n  last = 1"
	}
	ones := "range(1000)"
	return map[string]string{
		"nested range":         "[for a in " + ones + " : [for b in " + ones + " : [for c in " + ones + " : range(1000)]]]",
		"nested without items": "[for a in " + ones + " : [for b in " + ones + " : [for c in " + ones + " : c if c < 0]]]",
		"concat":               doubling(40, "range(1000)", "concat(@, @)"),
		"list of lists":        doubling(40, "[1]", "[@, @]"),
		"maps":                 doubling(40, "{ x = 1 }", "{ x = @, y = @ }"),
		"text":                 doubling(40, `"0123456789"`, `"${@}${@}"`),
		"flatten":              doubling(40, "[1]", "flatten([@, @])"),
		"splat":                doubling(40, "[{ x = 1 }]", "concat(@[*], @[*])"),
		"setproduct":           "setproduct(range(1000), range(1000), range(1000), range(1000))",
		"width":                `format("%999999999d", 1)`,
		"precision":            `format("%.999999999f", 1.5)`,
		"padded list":          `formatlist("%9999999s", range(1000))`,
		"long text":            "<<EOT\n" + strings.Repeat("\n", 60_000) + "EOT\n",
		"arguments again":      `format("` + strings.Repeat("%[1]s", 4000) + `", join("", [for i in range(1000) : "0123456789"]))`,
		"join":                 `join(join("", [for i in range(1000) : format("%1000d", i)]), range(1000))`,
		"replace":              `replace(join("", [for i in range(1000) : "aaaaaaaaaa"]), "a", join("", [for i in range(1000) : "aaaaaaaaaa"]))`,
		"replace by pattern":   `replace(join("", [for i in range(1000) : "aaaaaaaaaa"]), "/a/", join("", [for i in range(1000) : "aaaaaaaaaa"]))`,
		"pattern":              `regexall("(x+x+)+y|` + strings.Repeat("(a?){30}", 20) + `", format("%1000000d", 1))`,
		"matches":              doubling(22, `"a"`, `"${@}${@}"`) + "\n  " + `m = regexall("", local.a22)`,
		"indent":               `indent(999999999, "a\nb\nc")`,
		"distinct":             "distinct(flatten([for a in " + ones + " : [for b in range(100) : a * 1000 + b]]))",
		"power":                doubling(40, "1e300", "@ * @"),
		"power of a text":      `"1e99999999" + 1`,
		"number of a text":     `format("%s", "1e99999999" * 1)`,
		"number from JSON":     `"${jsondecode("1e99999999")}"`,
		"digits":               `join("", [for i in range(1000) : "1111111111"]) + 1`,
		"digits of a list":     `sum([join("", [for i in range(1000) : "1111111111"])])`,
		"parseint":             `parseint(join("", [for i in range(1000) : "1111111111"]), 10)`,
		"modulo":               `"1e99999999" % 3`,
		"deep":                 nested(150, "[for a in range(2) : ", "a", "]"),
		"JSON":                 doubling(12, `"\"\\"`, `jsonencode([@, @, @, @, @])`),
		"files":                `[for a in range(1000) : file("big.txt")]`,
		"patterns":             `[for a in range(1000) : glob("` + strings.Repeat("**/", 40) + `*")]`,
		"caught":               "try([for a in " + ones + " : [for b in " + ones + " : range(1000)]], 1)",
		"key of a map":         "{ for a in " + ones + " : \"k${a}\" => { for b in " + ones + " : \"k${b}\" => range(1000) } }",
		"condition":            "true ? [for a in " + ones + " : [for b in " + ones + " : range(1000)]] : []",
	}
}

// Whatever a manifest computes, it ends soon, takes little memory, and says where.
func TestBudget(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big.txt"), []byte(strings.Repeat("0123456789abcde\n", 1<<16)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", 60)), 0o700); err != nil {
		t.Fatal(err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			src := "pipeline \"a\" {\n  source { path = \".\" }\n}\n\nlocals {\n  a0 = " + text + "\n}\n"
			start, peak := time.Now(), watchMemory(t)
			diags := loadIn(t, dir, src)
			took, most := time.Since(start), peak()
			if !diags.HasErrors() {
				t.Fatal("no error")
			}
			d := diags[0]
			if d.Range.Start.Line < 5 || d.Range.File == "" {
				t.Errorf("no place: %+v", d)
			}
			if !strings.HasPrefix(d.Summary, "Expression too") && d.Summary != "Number out of range" && d.Summary != "Text too long" && !strings.Contains(d.Detail, "times ** at most") {
				t.Errorf("%s: %s", d.Summary, d.Detail)
			}
			if took > 20*time.Second { // on a busy machine; by itself it is below two
				t.Errorf("took %v", took)
			}
			if most > 600<<20 {
				t.Errorf("took %d MiB", most>>20)
			}
			t.Logf("%v, %d MiB: %s", took.Round(time.Millisecond), most>>20, d.Detail)
		})
	}
}

func loadIn(t *testing.T, dir, src string) core.Diagnostics {
	t.Helper()
	file := filepath.Join(dir, "pipeline.hcl")
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, diags := Load(file, Options{})
	return diags
}

// watchMemory returns what ends the watch and says how much the heap has grown at most.
func watchMemory(t *testing.T) func() uint64 {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, m.HeapAlloc
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		return most - before
	}
}

// What a plugin would evaluate with what a run finds out is bounded before it gets it.
func TestBudgetOfAScope(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pipeline.hcl")
	src := `pipeline "a" {
  source { path = "." }
}
stage "build" "a" {}
stage "test" "b" {
  list = [for x in stage.build.a.all : [for y in stage.build.a.all : [for z in stage.build.a.all : "${x}${y}${z}"]]]
}
`
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	p, _, diags := Load(file, Options{})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	scope := func(n int) error {
		list := make([]any, n)
		for i := range list {
			list[i] = "item"
		}
		_, err := p.Stages[1].Scope("", map[core.StageID]map[string]any{"build.a": {"all": list}})
		return err
	}
	if err := scope(10); err != nil {
		t.Error(err)
	}
	if err := scope(1000); err == nil || !strings.Contains(err.Error(), "Expression too") {
		t.Errorf("got %v", err)
	}
	if err := scope(10); err != nil {
		t.Error("the next scope:", err)
	}
}

// Usual work is far from the limits.
func TestBudgetLeavesRoom(t *testing.T) {
	src := `pipeline "a" {
  source { path = "." }
}
locals {
  hosts  = { for i in range(200) : "host-${i}" => { address = "10.0.0.${i}", roles = ["web", "log"], port = 8000 + i } }
  lines  = join("\n", [for name, h in local.hosts : format("%-20s %15s:%d", name, h.address, h.port)])
  again  = jsondecode(jsonencode(local.hosts))
  words  = distinct(split(" ", replace(local.lines, "/[^a-z0-9]+/", " ")))
  text   = "${local.lines}${file("big.txt")}"
  pairs  = setproduct(["a", "b", "c"], range(100), ["x", "y"])
  found  = regexall("host-([0-9]+)", local.lines)
  big    = pow(2, 100) * 1e30
  sorted = sort(keys(local.hosts))
}
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big.txt"), []byte(strings.Repeat("0123456789abcde\n", 1<<15)), 0o600); err != nil {
		t.Fatal(err)
	}
	if diags := loadIn(t, dir, src); len(diags) > 0 {
		t.Fatal(diags)
	}
}
