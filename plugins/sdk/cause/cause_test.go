package cause

import (
	"fmt"
	"strings"
	"testing"
)

func find(log string) Cause {
	var l Log
	for line := range strings.Lines(log) {
		l.Add(line)
	}
	return l.Find()
}

func TestFind(t *testing.T) {
	tests := map[string]struct{ log, want string }{
		"node:test": {
			"▶ outer\n  ✖ inner (2.9ms)\n    AssertionError [ERR_ASSERTION]: 1 == 2\n✖ outer (5.9ms)\nℹ fail 2\n✖ failing tests:\n\ntest at a.test.mjs:2:38\n✖ inner (2.9ms)\n  AssertionError [ERR_ASSERTION]: 1 == 2\n      at TestContext.<anonymous> (file:///srv/a.test.mjs:2:67)\n",
			"node:test a.test.mjs:2: inner: AssertionError [ERR_ASSERTION]: 1 == 2",
		},
		"node:test as TAP": {
			"TAP version 13\n# Subtest: outer\n    # Subtest: inner\n    not ok 1 - inner\n      ---\n      duration_ms: 12.6\n      location: '/srv/a.test.mjs:2:38'\n      failureType: 'testCodeFailure'\n      error: '1 == 2'\n      code: 'ERR_ASSERTION'\n      ...\n    1..1\nnot ok 1 - outer\n  ---\n  location: '/srv/a.test.mjs:2:1'\n  error: '1 subtest failed'\n  ...\n1..2\n# fail 2\n# todo 0\n# duration_ms 1797.1\n",
			"TAP /srv/a.test.mjs:2: inner: 1 == 2",
		},
		"TAP with a block": {
			"not ok 1 - later # TODO\nnot ok 2 - adds\n  ---\n  location: 'file:///srv/a.mjs:2:1'\n  error: |-\n    Expected values to be strictly equal:\n  ...\n",
			"TAP /srv/a.mjs:2: adds: Expected values to be strictly equal:",
		},
		"TAP of Perl": {
			"ok 1 - one\nnot ok 2 - two\n#   Failed test 'two'\n#   at t/sum.t line 7.\n",
			"TAP t/sum.t:7: two",
		},
		"mocha": {
			"  cart\n    ✔ adds\n    1) empties\n\n  1 passing (9ms)\n  1 failing\n\n  1) cart\n       empties:\n\n      AssertionError [ERR_ASSERTION]: expected 0 to equal 1\n      + expected - actual\n\n      at ok (node_modules/chai/lib/chai.js:9:1)\n      at Context.<anonymous> (test/cart.test.js:12:9)\n      at process.processImmediate (node:internal/timers:476:21)\n\nnpm error code 1\n",
			"mocha test/cart.test.js:12: cart empties: AssertionError [ERR_ASSERTION]: expected 0 to equal 1",
		},
		"jest": {
			"FAIL test/cart.test.js\n  cart\n    ✕ empties (3 ms)\n\n  ● cart › empties\n\n    expect(received).toBe(expected) // Object.is equality\n\n    Expected: 0\n    Received: 1\n\n      10 |   test('empties', () => {\n    > 12 |     expect(1).toBe(0);\n\n      at Object.toBe (test/cart.test.js:12:15)\n\nTests:       1 failed, 1 total\nRan all test suites.\n",
			"jest test/cart.test.js:12: cart › empties: expect(received).toBe(expected) // Object.is equality",
		},
		"jest, a suite that cannot run": {
			"FAIL test/cart.test.js\n  ● Test suite failed to run\n\n    Cannot find module '../nope' from 'test/cart.test.js'\n\n      at Resolver._throw (node_modules/jest-resolve/build/index.js:1:1)\n      at Object.require (test/cart.test.js:1:1)\n",
			"jest test/cart.test.js:1: Test suite failed to run: Cannot find module '../nope' from 'test/cart.test.js'",
		},
		"vitest": {
			"\x1b[31m FAIL \x1b[39m test/cart.test.ts > cart > empties\nAssertionError: expected 1 to be +0 // Object.is equality\n\n ❯ test/cart.test.ts:12:15\n     10|\n",
			"vitest test/cart.test.ts:12: cart > empties: AssertionError: expected 1 to be +0 // Object.is equality",
		},
		"go": {
			"--- FAIL: TestSum (0.00s)\n    --- FAIL: TestSum/empty (0.00s)\n        price_test.go:21: got 1, want 0\nFAIL\nFAIL\tshop/price\t0.005s\nok  \tshop/stock\t0.004s\nFAIL\n",
			"go price_test.go:21: TestSum/empty: got 1, want 0",
		},
		"go -v": {
			"=== RUN   TestSum\n    price_test.go:21: got 1, want 0\n--- FAIL: TestSum (0.00s)\nFAIL\nexit status 1\nFAIL\tshop/price\t0.005s\n",
			"go price_test.go:21: TestSum: got 1, want 0",
		},
		"go, a panic": {
			"--- FAIL: TestP (0.00s)\n    --- FAIL: TestP/x (0.00s)\npanic: runtime error: index out of range [0] with length 0 [recovered, repanicked]\n\ngoroutine 6 [running]:\ntesting.tRunner.func1.2({0x574440})\n\t/usr/local/go/src/testing/testing.go:1974 +0x232\npanic({0x574440?})\n\t/usr/local/go/src/runtime/panic.go:860 +0x13a\nshop/price.TestP.func1(0x7a3?)\n\t/srv/price/price_test.go:4 +0x9\nFAIL\tshop/price\t0.007s\n",
			"go /srv/price/price_test.go:4: TestP/x: runtime error: index out of range [0] with length 0",
		},
		"go, a timeout": {
			"panic: test timed out after 1s\n\trunning tests:\n\t\tTestSlow (1s)\n\ngoroutine 18 [running]:\ntesting.(*M).startAlarm.func1()\n\t/usr/local/go/src/testing/testing.go:2484 +0x394\n",
			"go TestSlow: test timed out after 1s",
		},
		"go, a build": {
			"# shop/cart [shop/cart.test]\ncart/cart_test.go:9:10: undefined: Empty\nFAIL\tshop/cart [build failed]\nFAIL\n",
			"go cart/cart_test.go:9: undefined: Empty",
		},
		"go, events": {
			`{"Action":"output","Package":"shop/price","Test":"TestSum","Output":"    price_test.go:21: got 1, want 0\n"}` + "\n" + `{"Action":"output","Package":"shop/price","Test":"TestSum","Output":"--- FAIL: TestSum (0.00s)\n"}` + "\n",
			"go price_test.go:21: TestSum: got 1, want 0",
		},
		"go, modules": {"go: downloading example.com/x v1.0.0\ngo: example.com/x@v1.0.0: reading go.mod: 404 Not Found\n", "go example.com/x@v1.0.0: reading go.mod: 404 Not Found"},
		"pytest": {
			"=========== FAILURES ===========\n_______ test_total[3-7] _______\n\ncount = 3\n\n>       assert total(count, price) == 11\nE       assert 10 == 11\nE        +  where 10 = total(3, 7)\n\ntests/test_cart.py:27: AssertionError\n=========== short test summary info ===========\nFAILED tests/test_cart.py::test_total[3-7] - assert 10 == 11\n=== 1 failed, 1 passed in 0.09s ===\n",
			"pytest tests/test_cart.py:27: test_total[3-7]: assert 10 == 11",
		},
		"pytest -q": {"F.\nFAILED tests/test_cart.py::test_total - assert 10 == 11\n1 failed\n", "pytest tests/test_cart.py: test_total: assert 10 == 11"},
		"unittest": {
			"F\n======================================================================\nFAIL: test_x (test_a.T.test_x)\n----------------------------------------------------------------------\nTraceback (most recent call last):\n  File \"/srv/test_a.py\", line 4, in test_x\n    self.assertEqual(1, 2)\nAssertionError: 1 != 2\n\n----------------------------------------------------------------------\nRan 1 test in 0.001s\n\nFAILED (failures=1)\n",
			"unittest /srv/test_a.py:4: test_x: AssertionError: 1 != 2",
		},
		"python, the last exception": {
			"Traceback (most recent call last):\n  File \"/srv/a.py\", line 3, in f\n    open('x')\nKeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/srv/b.py\", line 9, in <module>\n    f()\n  File \"/usr/lib/python3.11/json/decoder.py\", line 5, in raw\nshop.errors.LoadError: no prices\n",
			"python /srv/b.py:9: shop.errors.LoadError: no prices",
		},
		"cargo test": {
			"test adds ... FAILED\n\nfailures:\n\n---- adds stdout ----\n\nthread 'adds' (32238) panicked at src/lib.rs:2:12:\nassertion `left == right` failed\n  left: 1\n right: 2\nstack backtrace:\n   0: __rustc::rust_begin_unwind\n\nerror: test failed, to rerun pass `--lib`\n",
			"cargo test src/lib.rs:2: adds: assertion `left == right` failed",
		},
		"cargo": {
			"   Compiling s v0.1.0 (/srv)\nerror[E0308]: mismatched types\n --> src/lib.rs:3:22\n  |\nerror: could not compile `s` (lib) due to 1 previous error\n",
			"cargo src/lib.rs:3: mismatched types",
		},
		"rspec": {
			"  1) Cart empties\n     Failure/Error: expect(1).to eq(0)\n\n       expected: 0\n     # ./spec/cart_spec.rb:12:in `block'\n\nFailed examples:\n\nrspec ./spec/cart_spec.rb:12 # Cart empties\n",
			"rspec spec/cart_spec.rb:12: Cart empties",
		},
		"PHPUnit":      {"There was 1 failure:\n\n1) CartTest::testTotal\nFailed asserting that 1 matches expected 2.\n\n/srv/tests/CartTest.php:12\n\nFAILURES!\nTests: 1, Assertions: 1, Failures: 1.\n", "PHPUnit /srv/tests/CartTest.php:12: CartTest::testTotal: Failed asserting that 1 matches expected 2."},
		"surefire":     {"[ERROR] Failures: \n[ERROR]   CartTest.total:12 expected: <1> but was: <2>\n[ERROR] Tests run: 1\n[ERROR] Failed to execute goal\n", "surefire CartTest.total: expected: <1> but was: <2>"},
		"gradle":       {"CartTest > total() FAILED\n    org.opentest4j.AssertionFailedError: expected: <1> but was: <2>\n        at CartTest.total(CartTest.java:12)\n", "gradle CartTest > total(): org.opentest4j.AssertionFailedError: expected: <1> but was: <2>"},
		"dotnet":       {"  Failed Shop.CartTest.Total [12 ms]\n  Error Message:\n   Assert.Equal() Failure: Values differ\n  Stack Trace:\n     at Shop.CartTest.Total() in /srv/CartTest.cs:line 12\n", "dotnet /srv/CartTest.cs:12: Shop.CartTest.Total: Assert.Equal() Failure: Values differ"},
		"tsc":          {"src/cart.ts(12,5): error TS2322: Type 'string' is not assignable to type 'number'.\n", "tsc src/cart.ts:12: Type 'string' is not assignable to type 'number'."},
		"tsc --pretty": {"src/cart.ts:12:5 - error TS2322: Type 'string' is not assignable to type 'number'.\n\n12   x\n\nFound 1 error in src/cart.ts:12\n", "tsc src/cart.ts:12: Type 'string' is not assignable to type 'number'."},
		"javac":        {"[ERROR] /srv/src/Cart.java:[12,5] cannot find symbol\n[ERROR] -> [Help 1]\n", "javac /srv/src/Cart.java:12: cannot find symbol"},
		"csc":          {"/srv/Cart.cs(12,5): error CS0103: The name 'x' does not exist [/srv/shop.csproj]\n", "csc /srv/Cart.cs:12: The name 'x' does not exist"},
		"gcc under make": {
			"gcc -c b.c\nb.c: In function ‘main’:\nb.c:1:19: error: ‘y’ undeclared (first use in this function)\n    1 | int main(){return y;}\nmake: *** [Makefile:4: b.o] Error 1\n",
			"gcc b.c:1: ‘y’ undeclared (first use in this function)",
		},
		"gcc, no header": {"a.c:1:10: fatal error: nope.h: No such file or directory\ncompilation terminated.\n", "gcc a.c:1: nope.h: No such file or directory"},
		"ld":             {"/usr/bin/ld: a.o: in function `main':\na.c:(.text+0x5): undefined reference to `f'\ncollect2: error: ld returned 1 exit status\n", "ld a.c:(.text+0x5): undefined reference to `f'"},
		"make": {
			"checking the rates\nrate 3 differs\nmake[1]: *** [Makefile:9: t] Error 3\nmake: *** [Makefile:2: all] Error 2\n",
			"make Makefile:9: checking the rates | rate 3 differs | t",
		},
		"make, no rule": {"make: *** No rule to make target 'x', needed by 'all'.  Stop.\n", "make No rule to make target 'x', needed by 'all'. Stop."},
		"make, syntax":  {"Makefile:3: *** missing separator.  Stop.\n", "make Makefile:3: missing separator. Stop."},
		"CMake":         {"CMake Error at CMakeLists.txt:3 (find_package):\n  Could not find a package configuration file\n\n-- Configuring incomplete, errors occurred!\n", "CMake CMakeLists.txt:3: Could not find a package configuration file"},
		"node": {
			"node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module './nope'\nRequire stack:\n- /srv/x.cjs\n    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)\n    at Object.<anonymous> (/srv/x.cjs:1:1)\n\nNode.js v20.20.2\n",
			"node /srv/x.cjs:1: Error: Cannot find module './nope'",
		},
		"esbuild": {"✘ [ERROR] Could not resolve \"./nope\"\n\n    src/a.ts:1:16:\n      1 │ import './nope'\n\n1 error\n", `esbuild src/a.ts:1: Could not resolve "./nope"`},
		"webpack": {"ERROR in ./src/a.js 1:0-16\nModule not found: Error: Can't resolve './nope' in '/srv/src'\n\nwebpack 5.90.0 compiled with 1 error\n", "webpack src/a.js:1: Module not found: Error: Can't resolve './nope' in '/srv/src'"},
		"ruby":    {"lib/cart.rb:12:in `total': undefined method `x' for nil (NoMethodError)\n", "ruby lib/cart.rb:12: undefined method `x' for nil (NoMethodError)"},
		"php":     {"PHP Fatal error:  Uncaught Error: no in /srv/a.php:12\n", "php /srv/a.php:12: Uncaught Error: no"},
		"java":    {"Exception in thread \"main\" java.lang.IllegalStateException: no\n\tat shop.Cart.total(Cart.java:12)\n", "java Cart.java:12: java.lang.IllegalStateException: no"},
		"rust":    {"thread 'main' panicked at src/main.rs:2:12:\nno prices\nnote: run with\n", "rust src/main.rs:2: no prices"},
		"npm": {
			"npm error code EUSAGE\nnpm error\nnpm error The `npm ci` command can only install with an existing package-lock.json or\nnpm error npm-shrinkwrap.json with lockfileVersion >= 1.\nnpm error\nnpm error Usage:\nnpm error A complete log of this run can be found in: /root/.npm/_logs/debug-0.log\n",
			"npm EUSAGE: The `npm ci` command can only install with an existing package-lock.json or npm-shrinkwrap.json with lockfileVersion >= 1.",
		},
		"npm 9": {
			"npm ERR! code ENOENT\nnpm ERR! syscall open\nnpm ERR! path /srv/package.json\nnpm ERR! errno -2\nnpm ERR! enoent Could not read package.json: Error: ENOENT: no such file or directory\nnpm ERR! enoent\n\nnpm ERR! A complete log of this run can be found in: /x\n",
			"npm ENOENT: enoent Could not read package.json: Error: ENOENT: no such file or directory enoent",
		},
		"npm, a script":        {"npm error Missing script: \"nope\"\nnpm error\nnpm error To see a list of scripts, run:\nnpm error A complete log of this run can be found in: /x\n", `npm Missing script: "nope"`},
		"npm, what it ran":     {"> test\n> jest\n\nsh: 1: jest: not found\nnpm error Lifecycle script `test` failed\nnpm error code 127\nnpm error path /srv\n", "shell jest: not found"},
		"pnpm":                 {" ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\"\n", `pnpm ERR_PNPM_OUTDATED_LOCKFILE: Cannot install with "frozen-lockfile"`},
		"yarn":                 {"➤ YN0000: ┌ Resolution step\n➤ YN0028: │ The lockfile would have been modified by this install, which is explicitly forbidden.\n", "yarn YN0028: The lockfile would have been modified by this install, which is explicitly forbidden."},
		"yarn 1":               {"yarn run v1.22.0\nerror Couldn't find a package.json file in \"/srv\"\n", `yarn Couldn't find a package.json file in "/srv"`},
		"pip":                  {"ERROR: Could not find a version that satisfies the requirement nope\nERROR: No matching distribution found for nope\n", "pip Could not find a version that satisfies the requirement nope"},
		"maven":                {"[INFO] x\n[ERROR] Failed to execute goal on project shop: Could not resolve dependencies\n", "maven Failed to execute goal on project shop: Could not resolve dependencies"},
		"shell":                {"deploy.sh: line 3: nope: command not found\n", "shell nope: command not found"},
		"unknown, error words": {"starting\ncannot open prices.csv\ncleaning up\nfailed: 0\n", " cannot open prices.csv"},
		"unknown":              {"one\ntwo\n\nthree\nfour\n", " two | three | four"},
		"nothing":              {"\n", " "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := find(test.log)
			if got := c.Tool + " " + c.String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestPassingLogsNameNoTest: words that look like a tool's report of a failure are no failing test.
func TestPassingLogsNameNoTest(t *testing.T) {
	for _, log := range []string{
		"ok 1 - a\n1..1\n# fail 0\n", "PASS\nok  \tshop/price\t0.1s\n", "  2 passing (9ms)\n", "=== 2 passed in 0.09s ===\n",
		"test result: ok. 1 passed; 0 failed\n", "1) read the manual\n2) write it\n",
	} {
		if c := find(log); c.Test != "" || c.File != "" {
			t.Errorf("%q: %+v", log, c)
		}
	}
}

// TestLongLog: the cause of a log of any length is found at its beginning and at its end, in bounded memory and time.
func TestLongLog(t *testing.T) {
	for _, at := range []int{10, 199_990} {
		var l Log
		for i := range 200_000 {
			if i == at {
				l.Add("src/cart.ts(12,5): error TS2322: no")
			}
			l.Add(fmt.Sprintf("%d\r%s", i, strings.Repeat("x", 100)))
		}
		if got := l.Find().String(); got != "src/cart.ts:12: no" {
			t.Errorf("line %d: %s", at, got)
		}
		if n := len(l.first) + len(l.last); n > keepFirst+2*keepLast {
			t.Errorf("%d lines are kept", n)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("npm error code 1\n--- FAIL: TestX (0s)\n")
	f.Add("Traceback\n  File \"a\", line 3\nValueError\n")
	f.Fuzz(func(t *testing.T, log string) {
		if s := find(log).String(); len([]rune(s)) > 4*maxText {
			t.Errorf("%d characters", len(s))
		}
	})
}
