package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// newcomer is a project of testdata/projects, as they are found.
type newcomer struct {
	breakIt string // breaks one test
	broken  string // what troop why says then: the place and the name of the test
	covered bool   // init knows how to show coverage
}

// starters are real projects, whose tools Debian or npm has. Those of rust and maven are not there: programs that print
// what the real ones printed take their place (testdata/recorded/cargo, and the project's own mvnw).
var starters = map[string]newcomer{
	"go":            {"sed -i s/+=/-=/ pricelist/pricelist.go", "pricelist/pricelist_test.go:11: TestSum", true},
	"make":          {"sed -i 's/+ cents/- cents/' sum.sh", "Makefile:8: ", false},
	"make-c":        {"sed -i 's/sum += /sum -= /' cart.c", "test/cart_test.c:6: test_adds_up: Assertion", true},
	"maven":         {"sed -i '/^test)/,/^X/s/failures=\"0\"/failures=\"1\"/; s/time=\"0.01\"\\/>/time=\"0.01\"><failure message=\"no\"\\/><\\/testcase>/' mvnw", "PriceListTest", false},
	"node":          {"sed -i 's/total + item/total - item/' lib/index.js", "test/index.test.js:12: price list sums items", true},
	"node-jest":     {"sed -i 's/sum + price/sum - price/' cart.js", "test/cart.test.js:5: cart adds up", true},
	"node-test":     {"sed -i 's/sum + price/sum - price/' cart.js", "test/cart.test.js:6: test adds up", true},
	"node-vitest":   {"sed -i 's/sum + price/sum - price/' cart.js", "test/cart.test.js:6: ", true},
	"php":           {"sed -i 's/array_sum/count/' src/Cart.php", "tests/CartTest.php:11: ", true},
	"python":        {"sed -i 's/sum(cents/sum(-cents/' pricelist/__init__.py", "tests/test_pricelist.py:8: test_total", false},
	"python-pytest": {"sed -i 's/sum(prices)/len(prices)/' cart.py", "tests/test_cart.py:5: ", true},
	"ruby":          {"sed -i 's/prices.sum/prices.size/' lib/cart.rb", "test/cart_test.rb:8: CartTest#test_adds_up", false},
	"rust":          {"sed -i 's/sum()/sum::<i64>() - 1/' src/lib.rs", "src/lib.rs:12: tests::adds_up: assertion", false},
	"shell":         {"sed -i 's/total + price/total - price/' total.sh", "test.sh:12: adds up", false},
	"typescript":    {"sed -i 's/sum + price/sum - price/' src/cart.ts", "test/cart.test.ts:6: ", true},
}

// TestProjects is the first minutes of a new user: a fresh clone of a project, troop init, troop validate, troop run
// up to its tests, and nothing edited. Then a wrong line breaks a test: the run fails, and troop why names it with its
// file and line. The coverage is shown where the tools of the project measure it.
func TestProjects(t *testing.T) {
	testdata, err := filepath.Abs("../../manifest/starter/testdata")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := plugins()
	if err != nil {
		t.Fatal(err)
	}
	for name, project := range starters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(testdata, "recorded") + ":" + os.Getenv("PATH")
			if name == "python-pytest" { // Debian's, whose packages the test needs
				path = "/usr/bin:" + path
			}
			do := func(folder, script string) (string, error) {
				c := exec.CommandContext(t.Context(), "sh", "-euc", script)
				c.Dir = filepath.Join(dir, folder)
				c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost",
					"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost", "PLUGINS="+filepath.Clean(bin), "PATH="+path)
				out, err := c.CombinedOutput()
				return string(out), err
			}
			must := func(folder, script string) string {
				t.Helper()
				out, err := do(folder, script)
				if err != nil {
					t.Fatalf("%s: %v\n%s", script, err, out)
				}
				return out
			}
			must("", "cp -r "+filepath.Join(testdata, "projects", name)+" origin; cd origin; git init -q -b main; git add -A; git commit -q -m first")
			must("", "git clone -q origin clone")
			if out := must("clone", "troop init"); strings.Contains(out, "missing:") {
				t.Fatalf("init: %s", out)
			}
			must("clone", "troop --plugin-dir $PLUGINS validate")
			if out := must("clone", "troop --plugin-dir $PLUGINS run --until test"); !regexp.MustCompile(`test\.unit +passed`).MatchString(out) {
				t.Errorf("the tests did not run:\n%s", out)
			}
			if why := must("clone", "troop why"); strings.Contains(why, "coverage of ") != project.covered {
				t.Errorf("coverage is to be shown: %v; troop why says\n%s\n%s", project.covered, why, must("clone", "cat pipeline.hcl"))
			}
			must("clone", project.breakIt+"; git add -A; git commit -q -m broken")
			if out, err := do("clone", "troop --plugin-dir $PLUGINS run --until test"); err == nil || !regexp.MustCompile(`test\.unit +failed`).MatchString(out) {
				t.Errorf("broken, and the run says %v:\n%s", err, out)
			}
			if why := must("clone", "troop why"); !strings.Contains(why, project.broken) {
				t.Errorf("want %q; troop why says\n%s", project.broken, why)
			}
		})
	}
}
