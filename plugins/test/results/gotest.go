package results

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// goEvent is a line of go test -json; see `go doc test2json`.
type goEvent struct {
	Action      string
	Package     string
	ImportPath  string // of the build actions
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

var (
	goStart   = regexp.MustCompile(`(?m)^\{(?:"Time":"[^"]*",|"ImportPath":"[^"]*",)?"Action":"(?:start|run|pause|cont|pass|fail|skip|bench|output|build-output|build-fail|attr|artifacts)"`)
	goMessage = regexp.MustCompile(`^\s*([^\s:]+\.go):(\d+):(?:\d+:)? ?(.*)$`)
	goFrame   = regexp.MustCompile(`^\t(\S+\.go):(\d+)(?: \+0x[0-9a-f]+)?$`)
	goPanic   = regexp.MustCompile(`^(?:panic|fatal error): (.*?)(?: \[recovered[^\]]*\])?$`)
	goHeader  = regexp.MustCompile(`^# (\S+(?: \[\S+\])?)$`)
	goSayings = regexp.MustCompile(`^\s*(?:=== |--- |(?:FAIL|ok|PASS)(?:\s|$)|exit status \d+$|coverage: )`)
	goVerdict = regexp.MustCompile(`(?i)\b(?:want|got|expect\w*|unexpected|error|fail\w*|not equal|mismatch|invalid|wrong|panic|race detected|should|must|timed? ?out)\b`)
)

// goTest is one run of a test, or of a package.
type goTest struct {
	pkg, name string
	status    string // the action that ended it; empty: none has
	took      float64
	parent    *goTest
	holds     bool // subtests, which count in its place
	broke     bool // one of them failed
	out       []string
	looked    bool     // for a panic
	panics    []string // out from a panic on
	trace     string   // the same as text
}

// maxDepth bounds how far the parent of a subtest is looked for, so that the cost does not grow with the square of a name's length.
const maxDepth = 100

type goReader struct {
	packages map[string]*goTest
	now      map[[2]string]*goTest // the run that is going on, by package and test
	tests    []*goTest
	order    []*goTest           // packages
	builds   map[string][]string // output by the import path of what is built
	failed   map[string]string   // package to the import path that did not build
	broken   []string            // import paths that did not build
	header   string              // import path of the compiler's output among the events
}

func startGoTest(data []byte) int { return startOf(goStart, data) }

// parseGoTest reads the events of go test -json. A test with subtests is not counted beside them, unless it failed
// and none of them did. A package that failed without a test, by its build or by its exit, is a failed case.
// Lines that are no events are the compiler's, which older versions of Go leave on standard error.
func parseGoTest(data []byte) ([]Case, error) {
	r := goReader{packages: map[string]*goTest{}, now: map[[2]string]*goTest{}, builds: map[string][]string{}, failed: map[string]string{}}
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		var e goEvent
		if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &e) != nil || e.Action == "" {
			r.compiler(string(line))
			continue
		}
		r.event(e)
	}
	return r.cases(), nil
}

// GoOutput is what a line of go test -json prints without -json; false when the line is no such event.
func GoOutput(line string) (string, bool) {
	var e goEvent
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil || !goStart.MatchString(line) {
		return line, false
	}
	if strings.HasPrefix(e.Output, "=== ") {
		return "", true
	}
	return strings.TrimRight(e.Output, "\n"), true
}

func (r *goReader) compiler(line string) {
	if m := goHeader.FindStringSubmatch(line); m != nil {
		r.header = m[1]
	} else if r.header != "" {
		r.builds[r.header] = append(r.builds[r.header], line)
	}
}

func (r *goReader) event(e goEvent) {
	switch e.Action {
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], strings.TrimSuffix(e.Output, "\n"))
		return
	case "build-fail":
		r.broken = append(r.broken, e.ImportPath)
		return
	}
	if e.Package == "" {
		return
	}
	t := r.test(e)
	switch e.Action {
	case "output":
		t.out = append(t.out, strings.TrimSuffix(e.Output, "\n"))
	case "pass", "fail", "skip", "bench":
		t.status, t.took = e.Action, e.Elapsed
		if e.FailedBuild != "" {
			r.failed[e.Package] = e.FailedBuild
		}
		for p := t.parent; p != nil && e.Action == "fail"; p = p.parent {
			p.broke = true
		}
	}
}

// test returns the run that an event speaks of. With -count a test runs several times.
func (r *goReader) test(e goEvent) *goTest {
	p := r.packages[e.Package]
	if p == nil {
		p = &goTest{pkg: e.Package}
		r.packages[e.Package] = p
		r.order = append(r.order, p)
	}
	if e.Test == "" {
		return p
	}
	key := [2]string{e.Package, e.Test}
	t := r.now[key]
	if t != nil && (t.status == "" || e.Action != "run") {
		return t
	}
	t = &goTest{pkg: e.Package, name: e.Test, parent: p}
	for name, depth := e.Test, 0; depth < maxDepth; depth++ {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
		if parent := r.now[[2]string{e.Package, name}]; parent != nil {
			t.parent, parent.holds = parent, true
			break
		}
	}
	r.now[key] = t
	r.tests = append(r.tests, t)
	return t
}

func (r *goReader) cases() []Case {
	var list []Case
	for _, t := range r.tests {
		c := Case{Name: t.name, Package: t.pkg, Took: took(t.took)}
		unfinished := t.status == "" && r.packages[t.pkg].status != "pass"
		switch {
		case unfinished && !t.holds:
			t.parent.broke, r.packages[t.pkg].broke = true, true
		case t.holds && (t.status != "fail" || t.broke), t.status == "bench":
			continue
		}
		switch {
		case t.status == "fail" || unfinished:
			c = t.explain(c)
		case t.status == "skip":
			c.Status = Skipped
		}
		list = append(list, c)
	}
	for _, p := range r.order {
		if build, ok := r.failed[p.pkg]; ok || strings.Contains(strings.Join(p.out, "\n"), " failed]") && p.status == "fail" {
			list = append(list, r.build(p.pkg, build))
		} else if p.status == "fail" && !p.broke || p.status == "" {
			list = append(list, p.explain(Case{Name: p.pkg, Package: p.pkg}))
		}
	}
	named := map[string]bool{} // builds that a case speaks of
	for _, c := range list {
		named[r.failed[c.Package]] = true
	}
	for _, path := range r.broken {
		if !named[path] {
			list = append(list, r.build(strings.Fields(path + " ?")[0], path))
		}
	}
	return list
}

// build is the case of a package that does not build.
func (r *goReader) build(pkg, path string) Case {
	c := Case{Name: pkg, Package: pkg, Status: Failed, Message: "does not build"}
	out := r.builds[path]
	for _, name := range []string{pkg, pkg + " [" + pkg + ".test]"} {
		if len(out) == 0 {
			out = r.builds[name]
		}
	}
	c.Trace = strings.Join(out, "\n")
	first := ""
	for _, line := range out {
		if m := goMessage.FindStringSubmatch(strings.TrimPrefix(line, "vet: ")); m != nil {
			c.File, first = m[1], m[3]
			c.Line, _ = strconv.Atoi(m[2])
			break
		}
		if first == "" && !strings.HasPrefix(line, "# ") {
			first = strings.TrimSpace(line)
		}
	}
	if first != "" {
		c.Message += ": " + oneLine(first)
	}
	return c
}

// explain finds the message and the place of a failure: what the test has said of it, a panic, which Go prints
// under the test around it or the package, or the last line.
func (t *goTest) explain(c Case) Case {
	c.Status, c.Trace = Failed, strings.Join(t.out, "\n")
	if t.name != "" && t.said(&c) {
		return c
	}
	for p := t; p != nil; p = p.parent {
		if p.panicked(&c) {
			return c
		}
	}
	if t.status == "" {
		c.Message = "did not finish"
		if t.name == "" {
			c.Message = "the report ends before the result of the package"
		}
	}
	for _, lines := range [][]string{t.out, t.rest()} {
		for _, line := range slices.Backward(lines) {
			if line = strings.TrimSpace(line); line != "" && !goSayings.MatchString(line) {
				c.Message = strings.TrimPrefix(c.Message+": "+oneLine(line), ": ")
				return c
			}
		}
	}
	c.Message = cmp.Or(c.Message, "failed without a message")
	return c
}

// rest is what a package printed beside a test that never ended.
func (t *goTest) rest() []string {
	if t.status != "" || t.parent == nil {
		return nil
	}
	return t.parent.out
}

// said takes the message of t.Error and its kind. t.Log writes the same form: of several messages, one that
// sounds like a verdict counts, else the last.
func (t *goTest) said(c *Case) bool {
	type message struct {
		file, line string
		text       []string
	}
	var all []message
	for _, line := range t.out {
		if m := goMessage.FindStringSubmatch(line); m != nil {
			all = append(all, message{m[1], m[2], []string{m[3]}})
		} else if n := len(all); n > 0 && strings.HasPrefix(line, "        ") {
			all[n-1].text = append(all[n-1].text, line)
		}
	}
	if len(all) == 0 {
		return false
	}
	best := all[len(all)-1]
	for _, m := range all {
		if goVerdict.MatchString(strings.Join(m.text, " ")) {
			best = m
			break
		}
	}
	c.File = best.file
	if !strings.Contains(best.file, "/") {
		c.File = t.pkg + "/" + best.file
	}
	c.Line, _ = strconv.Atoi(best.line)
	c.Message = oneLine(strings.Join(best.text, " "))
	if _, after, ok := strings.Cut(c.Message, "Error: "); ok && strings.HasPrefix(c.Message, "Error Trace: ") { // testify
		c.Message, _, _ = strings.Cut(after, " Test: ")
	}
	return true
}

// panicked takes the message of a panic, and the first frame that is not the runtime's.
func (t *goTest) panicked(c *Case) bool {
	if !t.looked { // once: all failed tests of a package ask it
		t.looked = true
		if at := slices.IndexFunc(t.out, goPanic.MatchString); at >= 0 {
			t.panics = t.out[at:]
			t.trace = strings.Join(t.panics, "\n")
		}
	}
	trace := t.panics
	if len(trace) == 0 {
		return false
	}
	c.Message = oneLine(goPanic.FindStringSubmatch(trace[0])[1])
	c.Message = strings.TrimPrefix(c.Message, "runtime error: ")
	c.Trace = t.trace
	for i, line := range trace[1:] {
		function := trace[i]
		m := goFrame.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(function, "panic(") || strings.HasPrefix(function, "runtime.") ||
			strings.HasPrefix(function, "testing.") || strings.HasPrefix(function, "created by ") {
			continue
		}
		c.File = m[1]
		c.Line, _ = strconv.Atoi(m[2])
		break
	}
	return true
}
