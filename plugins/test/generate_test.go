package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// fastCheck has of fast-check what the generator uses, so that the tests need no registry.
const fastCheck = `
let state = 1;
const next = (n) => (state = (state * 48271) % 2147483647) % n;
const arb = (draw) => ({ draw, map: (f) => arb(() => f(draw())) });
const fc = {
  string: () => arb(() => Array.from({ length: next(9) }, () => String.fromCharCode(32 + next(95))).join('')),
  integer: () => arb(() => next(2000) - 1000),
  double: () => arb(() => next(2000) / 7 - 100),
  boolean: () => arb(() => next(2) === 1),
  date: () => arb(() => new Date(next(2000000000) * 1000)),
  constant: (v) => arb(() => v),
  constantFrom: (...list) => arb(() => list[next(list.length)]),
  oneof: (...list) => arb(() => list[next(list.length)].draw()),
  array: (of) => arb(() => Array.from({ length: next(6) }, () => of.draw())),
  tuple: (...list) => arb(() => list.map((a) => a.draw())),
  sample: (a, { numRuns }) => Array.from({ length: numRuns }, () => a.draw()),
  property: (a, check) => ({ a, check }),
  assert: ({ a, check }, { numRuns }) => { for (let i = 0; i < numRuns; i++) check(a.draw()); },
};
module.exports = fc;
module.exports.default = fc;
`

const module = `
const fs = require('node:fs');
const path = require('node:path');
console.log('loaded');

/**
 * @param {number} n
 * @returns {number} n, at most 100
 */
function limit(n) {
  return n > 100 ? 100 : n;
}

/** @param {string} word */
function grade(word) {
  if (word === 'excellent') return 1;
  if (word === 'poor') { throw new RangeError('too bad'); }
  return 2;
}

/** @param {number[]} list */
const smallest = (list) => list.sort((a, b) => a - b)[0];

function save(name) { fs.writeFileSync(name, 'x'); }
const write = fs.writeFileSync;
/** @param {string} name */
function hidden(name) { write(path.join(__dirname, 'touched'), name); return 1; }
let n = 0;
function count(x) { return ++n; }
async function later(x) { return x; }
class Shape { constructor(a) { this.a = a; } }
/** @param {function(): void} f */
function each(f) { f(); }
function nothing() {}

module.exports = { limit, grade, smallest, save, hidden, count, later, Shape, each, nothing, version: 1 };
`

func generatorProject(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"lib/sums.js": module, "node_modules/fast-check/index.js": fastCheck, "package.json": "{}",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

func TestGenerate(t *testing.T) {
	dir := generatorProject(t)
	r := sdktest.Call(t, stage, `command = ["true"]`, "generate", map[string]string{"module": "lib/sums.js"})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "test/sums.property.test.js"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{
		"require('../lib/sums.js')",
		"describe('limit(n)'", "fc.constantFrom(99, 100, 101", "it('changes nothing when it is applied twice'",
		"describe('grade(word)'", "'excellent', 'poor'", "it('throws nothing but RangeError'", "[1, 2].includes(answer.value)",
		"describe('smallest(list)'", "fc.array(",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in:\n%s", want, text)
		}
	}
	smallest := text[strings.Index(text, "describe('smallest"):]
	if strings.Contains(smallest, "leaves its arguments") {
		t.Error("smallest sorts its argument; the tests say that it leaves it alone")
	}
	log := strings.Join(r.Logs, "\n")
	for _, want := range []string{
		"save skipped: uses more than its arguments", "hidden skipped: no general property holds",
		"count skipped: no general property holds", "later skipped: asynchronous", "Shape skipped: a class",
		"each skipped: cannot make values for f", "nothing skipped: takes no parameters",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "lib/touched")); err == nil {
		t.Error("a function that was tried wrote a file")
	}

	// What was written passes, and notices a change.
	tests := filepath.Join(dir, "run.js")
	script := "global.describe = global.it = (name, f) => f();\nrequire('./test/sums.property.test.js');\n"
	if err := os.WriteFile(tests, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("node", tests).CombinedOutput(); err != nil {
		t.Fatalf("the tests fail: %v\n%s", err, out)
	}
	changed := strings.Replace(module, "return 2;", "return 3;", 1)
	if err := os.WriteFile(filepath.Join(dir, "lib/sums.js"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("node", tests).CombinedOutput(); err == nil {
		t.Errorf("the module changed and the tests pass\n%s", out)
	}
}

// TestGenerateCoverage: a module whose branches depend on numbers, strings, dates, phone numbers and the existence
// of files has tests of its own for three quarters of its lines. With those that are generated it is covered, and
// generated again they are the same.
func TestGenerateCoverage(t *testing.T) {
	dir := t.TempDir()
	for name, from := range map[string]string{"lib/orders.js": "orders.js", "test/orders.test.js": "orders.test.js"} {
		text, err := os.ReadFile(filepath.Join("testdata/generate", from))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(text))
	}
	write(t, filepath.Join(dir, "node_modules/fast-check/index.js"), fastCheck)
	write(t, filepath.Join(dir, "globals.cjs"), "const { describe, it } = require('node:test');\nObject.assign(global, { describe, it });\n")
	t.Chdir(dir)

	covered := func() float64 {
		t.Helper()
		out, err := exec.Command("node", "--require", "./globals.cjs", "--experimental-test-coverage", "--test", "--test-reporter=tap", "test").CombinedOutput()
		m := regexp.MustCompile(`orders\.js +\| +([\d.]+) \|`).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%v\n%s", err, out)
		}
		percent, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return percent
	}
	if before := covered(); before < 74 || before > 78 {
		t.Errorf("its own tests cover %v %% of the lines, want about 76 %%", before)
	}
	var texts []string
	for range 2 {
		r := sdktest.Call(t, stage, `command = ["true"]`, "generate", map[string]string{"module": "lib/orders.js", "force": "true"})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if log := strings.Join(r.Logs, "\n"); !strings.Contains(log, "wrote tests for 8 functions to ") || !strings.Contains(log, "(seed 20: the same module") {
			t.Errorf("log:\n%s", log)
		}
		b, err := os.ReadFile("test/orders.property.test.js")
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	if texts[0] != texts[1] {
		t.Error("the second time the tests are others")
	}
	if after := covered(); after <= 95 {
		t.Errorf("%v %% of the lines are covered, want more than 95 %%", after)
	}
}

func TestGenerateRefuses(t *testing.T) {
	dir := generatorProject(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("taken.js", "mine")
	write("broken.js", "module.exports = {")
	write("data.js", "module.exports = { a: 1 };")
	tests := map[string]struct {
		args map[string]string
		want string
	}{
		"no module":       {map[string]string{"module": "none.js"}, "none.js is not a file"},
		"taken":           {map[string]string{"module": "lib/sums.js", "out": "taken.js"}, "exists; --force"},
		"broken":          {map[string]string{"module": "broken.js"}, "cannot be run"},
		"nothing to test": {map[string]string{"module": "data.js"}, "exports no function for which tests can be made"},
		"unknown name":    {map[string]string{"module": "lib/sums.js", "only": "none"}, "exports no function"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := sdktest.Call(t, stage, `command = ["true"]`, "generate", test.args)
			if r.Err == nil || !strings.Contains(r.Err.Error(), test.want) {
				t.Errorf("got %v, want %s", r.Err, test.want)
			}
		})
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "taken.js")); string(b) != "mine" {
		t.Error("a file that was there is lost")
	}
	if r := sdktest.Call(t, stage, `command = ["true"]`, "generate", map[string]string{"module": "lib/sums.js", "out": "taken.js", "force": "true", "only": "limit"}); r.Err != nil {
		t.Errorf("by force: %v", r.Err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	if r := sdktest.Call(t, stage, `command = ["true"]`, "generate", map[string]string{"module": "lib/sums.js"}); r.Err == nil || !strings.Contains(r.Err.Error(), "npm install --save-dev fast-check") {
		t.Errorf("without fast-check: %v", r.Err)
	}
}
