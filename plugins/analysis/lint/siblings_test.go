package lint

import (
	"strings"
	"testing"
	"unicode/utf16"
)

const (
	oneRuff   = `[{"code":"F401","filename":"a.py","location":{"row":1,"column":8},"message":"unused"}]`
	oneGolang = `{"Issues":[{"FromLinter":"errcheck","Text":"unchecked","Severity":"","Pos":{"Filename":"a.go","Line":12,"Column":3}}],"Report":{}}`
	oneXML    = `<checkstyle version="8"><file name="a.js"><error line="1" severity="error" message="bad" source="r"/></file></checkstyle>`
)

// sarifOf is a log of one run with these members.
func sarifOf(members string) string {
	return `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"t","rules":[{"id":"CA1","defaultConfiguration":{"level":"error"},"messageStrings":{"why":{"text":"{0} hides {1}"}}}]}},` + members + `}]}`
}

func utf16Text(s string) string {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return string(out)
}

func TestParseMixedOutput(t *testing.T) {
	tests := map[string]struct {
		format, out string
		want        []string
	}{
		"a banner and a summary":          {"auto", "\n> shop@1.0.0 lint\n> ruff check\n\n" + oneRuff + "\nDone in 1.2s.\n", []string{"error a.py:1:8 F401"}},
		"the format is given":             {"golangci", oneGolang + "\n1 issues:\n* errcheck: 1\n", []string{"error a.go:12:3 errcheck"}},
		"two packages, two reports":       {"auto", oneRuff + "\n" + strings.ReplaceAll(oneRuff, "a.py", "b.py") + "\n", []string{"error a.py:1:8", "error b.py:1:8"}},
		"two linters":                     {"auto", oneRuff + "\n" + oneGolang + "\n" + oneXML + "\na.js:3:1: warning: odd\n", []string{"error a.js:1 r", "error a.py:1:8", "error a.go:12:3", "warning a.js:3:1"}},
		"two XML documents":               {"checkstyle", "> lint\n" + oneXML + "\n<?xml version=\"1.0\"?>\n" + oneXML, []string{"error a.js:1 r", "error a.js:1 r"}},
		"one object per line":             {"ruff", `{"code":"F401","filename":"a.py","location":{"row":1,"column":8},"message":"unused"}` + "\n" + `{"code":null,"filename":"b.py","location":null,"message":"unreadable"}` + "\n", []string{"error a.py:1:8 F401", "error b.py"}},
		"colours, the format is given":    {"unix", "\x1b[1ma.js:3:9:\x1b[0m \x1b[31merror:\x1b[0m odd\n", []string{"error a.js:3:9 | odd"}},
		"a number in brackets":            {"auto", "[0] eslint started\n[1] a.js:3:1: warning: odd\na.js:3:1: warning: odd\n[0] done\n", []string{"warning a.js:3:1"}},
		"nothing found":                   {"ruff", "[]\n", nil},
		"colours":                         {"auto", "\x1b[4ma.js\x1b[24m\n  \x1b[2m3:9\x1b[22m  \x1b[31merror\x1b[39m  Odd  \x1b[2meqeqeq\x1b[22m\n", []string{"error a.js:3:9 eqeqeq | Odd"}},
		"a mark of the byte order":        {"eslint", "\uFEFF" + `[{"filePath":"a.js","messages":[{"ruleId":null,"severity":1,"fatal":true,"message":"m","line":1,"column":2}]}]`, []string{"error a.js:1:2"}},
		"UTF-16":                          {"auto", utf16Text(`<?xml version="1.0" encoding="utf-16"?>` + oneXML), []string{"error a.js:1 r"}},
		"XML 1.1, control characters":     {"auto", `<?xml version="1.1"?>` + strings.ReplaceAll(oneXML, "bad", "a\x01b&#x1b;c&#7;d"), []string{"error a.js:1 r | abcd"}},
		"windows-1252":                    {"auto", `<?xml version="1.0" encoding="windows-1252"?>` + strings.ReplaceAll(oneXML, "bad", "5 \x80"), []string{"error a.js:1 r | 5 €"}},
		"an exception of the whole":       {"checkstyle", `<checkstyle><exception>no rules&#10; at X.java:3</exception></checkstyle>`, []string{"error | no rules"}},
		"no finding in an empty root":     {"auto", `<?xml version="1.0"?><checkstyle version="8"/>`, nil},
		"standard input":                  {"auto", "<stdin>:3:1: error: odd\n", nil},
		"a place outside":                 {"auto", "/etc/passwd:3: odd\n../a.js:1:1: odd\n", nil},
		"linters of text in turn":         {"auto", "a.js: line 3, col 15, Bad.\n\na.js\n  4:1  warning  Odd  r\n\na.js:5:1: note: small\n", []string{"error a.js:3:15", "warning a.js:4:1 r", "note a.js:5:1"}},
		"pylint, newer":                   {"auto", `{"messages":[{"type":"error","path":"a.py","line":3,"column":4,"symbol":"s","message":"m"}],"statistics":{}}`, []string{"error a.py:3:5 s"}},
		"ShellCheck, older":               {"auto", `[{"file":"a.sh","line":2,"endLine":2,"column":6,"level":"info","code":2086,"message":"m"}]`, []string{"note a.sh:2:6 SC2086"}},
		"ESLint with metadata":            {"eslint", `{"results":[{"filePath":"a.js","messages":[{"ruleId":"r","severity":2,"message":"m","line":1,"column":2}]}],"metadata":{}}`, []string{"error a.js:1:2 r"}},
		"stylelint, no such rule":         {"auto", `[{"source":"a.css","errored":true,"warnings":[],"invalidOptionWarnings":[{"text":"Invalid option"}]}]`, []string{"error a.css invalidOption"}},
		"golangci-lint failed":            {"auto", `{"Issues":null,"Report":{"Error":"timeout"}}`, []string{"error | timeout"}},
		"Biome cut its report":            {"auto", `{"summary":{"errors":3,"diagnosticsNotPrinted":3},"diagnostics":[{"category":"lint/a/b","severity":"warning","description":"m","location":{"path":{"file":"a.js"}}}]}`, []string{"warning a.js b", "error | 3 more errors"}},
		"Biome, newer":                    {"auto", `{"summary":{"errors":1},"diagnostics":[{"category":"parse","severity":"error","message":"m","location":{"path":"a.js","start":{"line":2,"column":3}}}]}`, []string{"error a.js:2:3 parse | m"}},
		"cargo, an error without a place": {"auto", `{"reason":"compiler-message","message":{"level":"error","message":"linking with cc failed","spans":[]}}`, []string{"error | linking with cc failed"}},
		"cargo, failed without a reason":  {"auto", `{"reason":"build-finished","success":false}`, []string{"error | without a reason"}},
		"clippy, in a macro":              {"auto", `{"reason":"compiler-message","message":{"level":"warning","message":"m","spans":[{"file_name":"/rustc/x/macros.rs","line_start":9,"column_start":9,"is_primary":true,"expansion":{"span":{"file_name":"src/a.rs","line_start":2,"column_start":3}}}]}}`, []string{"warning src/a.rs:2:3"}},
		"SARIF without runs":              {"auto", `{"version":"2.1.0","runs":null}`, []string{"error | has no runs"}},
		"SARIF, failed in silence":        {"auto", sarifOf(`"invocations":[{"executionSuccessful":false}],"results":[]`), []string{"error | executionSuccessful"}},
		"SARIF, failed with a place":      {"auto", sarifOf(`"invocations":[{"executionSuccessful":false,"toolExecutionNotifications":[{"level":"error","message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.js"},"region":{"startLine":3}}}]}]}],"results":[]`), []string{"error a.js:3 | m"}},
		"SARIF, its message in the rule":  {"auto", sarifOf(`"results":[{"ruleId":"CA1/2","message":{"id":"why","arguments":["x","y"]},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"b%2Dc.js","uriBaseId":"SRC"}}}]}],"originalUriBaseIds":{"SRC":{"uri":"lib/"}}`), []string{"error lib/b-c.js CA1/2 | x hides y"}},
		"SARIF, configured otherwise":     {"auto", sarifOf(`"invocations":[{"executionSuccessful":true,"ruleConfigurationOverrides":[{"descriptor":{"index":0},"configuration":{"level":"note"}}]}],"results":[{"ruleIndex":0,"message":{"text":"m"}}]`), []string{"note | m"}},
		"SARIF, a rule like a path":       {"auto", sarifOf(`"results":[{"ruleId":"/a//b/","message":{"text":"m"}}]`), []string{"warning | m"}},
		"SARIF, indexes out of range":     {"auto", sarifOf(`"results":[{"ruleIndex":7,"message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"index":-3}}}]}]`), []string{"warning | m"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := Parse(test.format, []byte(test.out), only("a.js"))
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != len(test.want) {
				t.Fatalf("got %d findings, want %d:\n%s", len(list), len(test.want), text(list))
			}
			for i, f := range list {
				if !fits(f, test.want[i]) {
					t.Errorf("got %s\nwant %s", text(list[i:i+1]), test.want[i])
				}
			}
		})
	}
}

func TestParseRefusesWhatItDoesNotKnow(t *testing.T) {
	tests := map[string]struct{ format, out, want string }{
		"after a banner":         {"auto", "> spell\n{\"tool\": \"spell\"}\n", "an object with the keys tool"},
		"one of several":         {"auto", `[{"filePath":"a.js","messages":[]},{"word":"tpyo"}]`, "an object with the keys word"},
		"not objects":            {"auto", `["tpyo"]`, "a value that is not an object"},
		"no keys":                {"auto", `{}`, "an object without keys"},
		"PHPStan":                {"auto", `{"totals":{"errors":0,"file_errors":1},"files":{"a.php":{"errors":1,"messages":[{"message":"m","line":3,"ignorable":true}]}},"errors":[]}`, "want a message of type ERROR or WARNING"},
		"a log of another tool":  {"auto", `{"reason":"started"}`, `no message with the reason "started"`},
		"comments of a forum":    {"auto", `{"comments":[{"text":"hi"}]}`, "a comment without file or code"},
		"issues of a tracker":    {"auto", `{"Issues":[{"title":"hi"}]}`, "an issue without linter or position"},
		"of another format":      {"ruff", oneGolang, "it is not the JSON of ruff: an object with the keys Issues, Report"},
		"XML in place of JSON":   {"sarif", oneXML, "it is XML"},
		"JSON in place of XML":   {"checkstyle", oneRuff, "it is JSON"},
		"text in place of JSON":  {"biome", "Checked 3 files.", "no document of that format"},
		"cut JSON":               {"auto", oneRuff[:40], "truncated"},
		"cut JSON on many lines": {"auto", "{\n  \"Issues\": [\n    {\n", "truncated"},
		"cut XML":                {"auto", oneXML[:60], "unexpected EOF"},
		"another XML":            {"auto", "<?xml version=\"1.0\"?>\n<pmd><file/></pmd>", "got <pmd>"},
		"an unknown encoding":    {"auto", "<?xml version=\"1.0\" encoding=\"klingon\"?>" + oneXML, `unknown encoding "klingon"`},
		"a wrong type":           {"auto", `[{"filePath":"a.js","messages":"none"}]`, "read JSON of eslint"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := Parse(test.format, []byte(test.out), anywhere)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want %s", list, err, test.want)
			}
		})
	}
}

// A line that begins like a document must not cost a scan of all that follows it.
func TestParseManyBracketsIsFast(t *testing.T) {
	for _, line := range []string{"[\n", "{\"a\":\n", "[1,\n", "[1] a\n", "<a\n", "<?xml\n", "a.js: line "} {
		if list, _ := Parse("auto", []byte(strings.Repeat(line, 128<<10/len(line))), anywhere); len(list) > 0 {
			t.Errorf("%q: %d findings", line, len(list))
		}
	}
}
