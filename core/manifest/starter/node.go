package starter

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// packageJSON is what is read of a project's description.
type packageJSON struct {
	Name            string            `json:"name"`
	Main            string            `json:"main"`
	Scripts         map[string]string `json:"scripts"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
	PackageManager  string            `json:"packageManager"`
}

func (d *packageJSON) develops(name string) bool {
	return d.DevDependencies[name] != "" || d.Dependencies[name] != ""
}

// manager is a program that installs packages and runs scripts.
type manager struct {
	name    string
	install []string
	exec    []string // in front of a program of a package
	pass    []string // between a script's name and options for what it runs
	prune   []string
	store   []string // where it keeps its downloads
	lock    string
}

func (p *project) manager(d *packageJSON) manager {
	npm := manager{
		name: "npm", install: []string{"npm", "ci", "--no-audit", "--no-fund"}, exec: []string{"npx"}, pass: []string{"--"},
		prune: []string{"npm", "prune", "--omit=dev"}, store: []string{"~/.npm/_cacache"}, lock: "package-lock.json",
	}
	switch {
	case p.has("pnpm-lock.yaml"):
		return manager{
			name: "pnpm", install: []string{"pnpm", "install", "--frozen-lockfile"}, exec: []string{"pnpm", "exec"},
			prune: []string{"pnpm", "prune", "--prod"}, store: []string{"~/.local/share/pnpm/store"}, lock: "pnpm-lock.yaml",
		}
	case p.has("bun.lock"), p.has("bun.lockb"):
		return manager{
			name: "bun", install: []string{"bun", "install", "--frozen-lockfile"}, exec: []string{"bunx"},
			store: []string{"~/.bun/install/cache"}, lock: p.first("bun.lock", "bun.lockb"),
		}
	case p.has("yarn.lock"):
		m := manager{
			name: "yarn", install: []string{"yarn", "install", "--frozen-lockfile"}, exec: []string{"yarn", "run"},
			store: []string{"~/.cache/yarn"}, lock: "yarn.lock",
		}
		if p.has(".yarnrc.yml") || regexp.MustCompile(`^yarn@[2-9]`).MatchString(d.PackageManager) {
			m.install, m.store = []string{"yarn", "install", "--immutable"}, []string{"~/.yarn/berry/cache"}
		}
		return m
	case p.has("package-lock.json"):
	case p.has("npm-shrinkwrap.json"):
		npm.lock = "npm-shrinkwrap.json"
	default:
		npm.install[1] = "install"
		if len(d.Dependencies)+len(d.DevDependencies) > 0 {
			p.askBuild("No lock file: with a package-lock.json in the commit, npm ci installs the same each time.")
		}
	}
	return npm
}

func (m manager) script(name string) []string {
	if name == "test" {
		return []string{m.name, "test"}
	}
	return []string{m.name, "run", name}
}

func node(p *project) {
	var d packageJSON
	_ = json.Unmarshal([]byte(p.text("package.json")), &d)
	p.Name = cmp.Or(d.Name, p.Name)
	m := p.manager(&d)
	p.Build = [][]string{m.install}
	p.keep(m.lock, m.store...)
	if d.Scripts["build"] != "" {
		p.Build = append(p.Build, m.script("build"))
	}
	p.Package, p.Prepare = true, m.prune
	if file, module := p.prunedImport(&d); module != "" && m.prune != nil {
		p.Prepare = nil
		p.askBuild("%s imports %s, which stands under devDependencies: pruning would take it away. In dependencies, this can prune:", file, module)
		p.BuildNotes = append(p.BuildNotes, "  prepare = "+list(m.prune))
	}
	p.nodeTests(&d, m)
}

// noTests is the script that npm init writes.
const noTests = "no test specified"

// testScripts may be the one that runs the tests.
var testScripts = regexp.MustCompile(`^(?:ci[-:_]?tests?|tests?[-:_]?ci|unit|tests?[-:_]unit|unit[-:_]tests?|mocha|jest|vitest|ava)$`)

func (p *project) nodeTests(d *packageJSON, m manager) {
	name := "test"
	script := d.Scripts[name]
	if strings.Contains(script, noTests) {
		script = ""
	}
	var others []string
	for _, other := range slices.Sorted(maps.Keys(d.Scripts)) {
		if testScripts.MatchString(other) {
			others = append(others, other)
		}
	}
	if r := parseScript(d, name, script); (script == "" || r.runner == "") && len(others) > 0 {
		for _, other := range others {
			if script == "" || parseScript(d, other, d.Scripts[other]).runner != "" {
				name, script = other, d.Scripts[other]
				break
			}
		}
	} else if len(others) > 0 && r.name == "test" {
		p.ask("package.json has a script %s, too: is that the one for CI?", strings.Join(others, ", "))
	}
	if script == "" {
		if p.first("test/*.js", "test/*.mjs", "test/*.cjs", "test/*/*.js", "*.test.js", "*.test.mjs", "src/*.test.js") == "" {
			p.ask("Tests: which command runs them? package.json has no script test.")
			return
		}
		script = "node --test"
		name = ""
	}
	s := parseScript(d, name, script)
	if s.left != "" {
		p.TestNotes = append(p.TestNotes, fmt.Sprintf("Of the script test this is the part with the tests; the rest is: %s", s.left))
	}
	s.command(p, d, m)
}

// testScript is a script of package.json, taken apart.
type testScript struct {
	name   string   // of the script in which the runner is; empty: none
	left   string   // what the script test runs beside that one
	words  []string // the last command; nil: it needs a shell
	text   string
	chain  bool // other commands come before
	runner string
	at     int // of the runner, in words
	cover  string
}

// runners are the programs that run tests.
var runners = []string{"mocha", "_mocha", "jest", "vitest", "ava", "tap", "tape", "node", "tsx"}

// parseScript finds the runner of a script, also where it only calls another script.
func parseScript(d *packageJSON, name, text string) testScript {
	parts := strings.Split(text, "&&")
	last := strings.TrimSpace(parts[len(parts)-1])
	s := testScript{name: name, text: text, chain: len(parts) > 1, words: words(last)}
	if m := regexp.MustCompile(`^(?:npm|yarn|pnpm|bun)(?: run(?:-script)?)? ([\w:.-]+)$`).FindStringSubmatch(last); m != nil && d.Scripts[m[1]] != "" && m[1] != name {
		inner := parseScript(&packageJSON{}, m[1], d.Scripts[m[1]])
		if inner.runner != "" {
			inner.left = strings.TrimSpace(strings.Join(parts[:len(parts)-1], "&&"))
			return inner
		}
	}
	for i, w := range s.words {
		base := path.Base(w)
		if base == "c8" || base == "nyc" {
			s.cover = base
		}
		if !slices.Contains(runners, base) {
			continue
		}
		if (base == "node" || base == "tsx") && !slices.Contains(s.words, "--test") {
			continue
		}
		s.runner, s.at = strings.TrimPrefix(base, "_"), i
		if base == "tsx" {
			s.runner = "node"
		}
		break
	}
	return s
}

var shellCharacters = regexp.MustCompile("[|&;<>()$`\\\\\n]")

// words splits a command as a shell does, without what only a shell can do: then there are none.
func words(command string) []string {
	if shellCharacters.MatchString(command) {
		return nil
	}
	var list []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|'([^']*)'|([^\s"']+)`).FindAllStringSubmatch(command, -1) {
		list = append(list, m[1]+m[2]+m[3])
	}
	return list
}

// options of a runner, and the reports that it writes with them.
func (p *project) options(s testScript, d *packageJSON) (options []string) {
	switch s.runner {
	case "mocha":
		p.report("junit", "reports/junit.xml")
		return []string{"--reporter=xunit", "--reporter-option=output=reports/junit.xml"}
	case "jest":
		p.report("jest", "jest-results.json")
		p.report("coverage", "coverage/coverage-summary.json")
		return []string{
			"--ci", "--json", "--outputFile=jest-results.json", "--testLocationInResults", "--coverage",
			"--coverageDirectory=coverage", "--coverageReporters=json-summary", "--coverageReporters=text",
		}
	case "vitest":
		options = []string{"--run", "--reporter=default", "--reporter=junit", "--outputFile.junit=reports/junit.xml"}
		if slices.Contains(s.words, "run") {
			options = options[1:]
		}
		p.report("junit", "reports/junit.xml")
		if !d.develops("@vitest/coverage-v8") && !d.develops("@vitest/coverage-istanbul") {
			p.ask("Coverage: npm install --save-dev @vitest/coverage-v8, of the version of vitest, and troop init again, or by hand:")
			p.TestNotes = append(p.TestNotes, `  --coverage.enabled --coverage.reporter=json-summary, and coverage = "coverage/coverage-summary.json"`)
			return options
		}
		p.report("coverage", "coverage/coverage-summary.json")
		return append(options, "--coverage.enabled", "--coverage.reportOnFailure", "--coverage.reportsDirectory=coverage",
			"--coverage.reporter=json-summary", "--coverage.reporter=text")
	case "ava":
		p.report("tap", "-")
		return []string{"--tap"}
	case "tap":
		p.report("tap", "-")
		return []string{"--reporter=tap"}
	case "tape":
		p.report("tap", "-")
	case "node":
		p.report("junit", "junit.xml")
		options = []string{"--test-reporter=spec", "--test-reporter-destination=stdout", "--test-reporter=junit", "--test-reporter-destination=junit.xml"}
		if s.cover == "" {
			options = append(options, "--experimental-test-coverage", "--test-reporter=lcov", "--test-reporter-destination=lcov.info")
			p.report("coverage", "lcov.info")
		}
	}
	return options
}

// covers are the options of the programs that measure the coverage of others.
var covers = map[string][]string{
	"c8":  {"c8", "--reporter=json-summary", "--reporter=text"},
	"nyc": {"nyc", "--reporter=json-summary", "--reporter=text"},
}

// command makes the test command of a script.
func (s testScript) command(p *project, d *packageJSON, m manager) {
	if s.runner == "" {
		p.Test = m.script(s.name)
		p.ask("Results and coverage: which reports does %q write? reports { junit = …, coverage = … }", oneLine(s.text))
		return
	}
	options := p.options(s, d)
	cover := s.cover
	if cover == "" && slices.Contains([]string{"mocha", "ava", "tape"}, s.runner) {
		switch {
		case d.develops("c8"):
			cover = "c8"
		case d.develops("nyc"):
			cover = "nyc"
		default:
			p.ask("Coverage: npm install --save-dev c8, and troop init again, or by hand: npx c8 --reporter=json-summary in front of")
			p.TestNotes = append(p.TestNotes, `  the command, and coverage = "coverage/coverage-summary.json"`)
		}
	}
	if cover != "" {
		p.report("coverage", "coverage/coverage-summary.json")
	}
	if pre := "pre" + s.name; s.name != "" && d.Scripts[pre] != "" {
		p.Build = append(p.Build, m.script(pre))
	}
	switch {
	case s.runner == "node":
		p.Test = s.insert(m, options)
	case s.chain || slices.ContainsFunc(s.words[:s.at], func(w string) bool { return strings.Contains(w, "=") && !strings.HasPrefix(w, "-") }):
		// The script sets variables, or does something before: it runs whole, with options for what comes last.
		p.Test = append(append(m.script(s.name), m.pass...), options...)
		if cover != "" && s.cover == "" {
			p.Test = append(append(slices.Clone(m.exec), covers[cover]...), p.Test...)
		}
	default:
		own := without(s.words, s.runner)
		if s.cover != "" {
			own = own[slices.Index(own, s.cover)+1:]
		}
		if cover != "" {
			own = append(slices.Clone(covers[cover]), own...)
		}
		p.Test = append(append(slices.Clone(m.exec), own...), options...)
	}
}

// without leaves out the reporters that a script names for Mocha, and npx.
func without(words []string, runner string) []string {
	var list []string
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "npx" && len(list) == 0:
		case runner == "mocha" && (w == "--reporter" || w == "-R"):
			i++
		case runner == "mocha" && strings.HasPrefix(w, "--reporter="):
		default:
			list = append(list, w)
		}
	}
	return list
}

// insert puts the options of node's runner where it takes them: behind --test. A pattern of files is the shell's.
func (s testScript) insert(m manager, options []string) []string {
	if s.words != nil && !s.chain && s.at == 0 && !strings.ContainsAny(s.text, "*?[") && s.words[0] == "node" {
		i := slices.Index(s.words, "--test")
		return slices.Concat(s.words[:i+1], options, s.words[i+1:])
	}
	text := strings.Replace(s.text, "--test", "--test "+strings.Join(options, " "), 1)
	if s.cover != "" {
		text = strings.Replace(text, s.cover, strings.Join(covers[s.cover], " "), 1)
	}
	if m.name == "npm" && (s.cover != "" || s.chain || s.at > 0 || s.words[0] != "node") {
		return []string{"npx", "-c", text}
	}
	return []string{"sh", "-c", text}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

var (
	importPattern = regexp.MustCompile(`(?:\brequire\(\s*|\bfrom\s+|\bimport\(\s*|^\s*import\s+)['"]([^'"\n]+)['"]`)
	startPattern  = regexp.MustCompile(`(?:^|\s)node(?:\s+-\S+)*\s+([\w./-]+)`)
)

// maxImports is how many files are searched for imports.
const maxImports = 200

// prunedImport finds a module that the start file imports, also by way of its other files, and that is only a
// development dependency.
func (p *project) prunedImport(d *packageJSON) (file, module string) {
	start := cmp.Or(d.Main, "index.js")
	if m := startPattern.FindStringSubmatch(d.Scripts["start"]); m != nil {
		start = m[1]
	}
	seen := map[string]bool{}
	queue := []string{path.Clean(start)}
	for len(queue) > 0 && len(seen) < maxImports {
		file = p.first(queue[0], queue[0]+".js", queue[0]+".mjs", queue[0]+".cjs", queue[0]+"/index.js")
		queue = queue[1:]
		if file == "" || seen[file] || strings.HasPrefix(file, "..") {
			continue
		}
		seen[file] = true
		for _, m := range importPattern.FindAllStringSubmatch(p.text(file), -1) {
			name := m[1]
			if strings.HasPrefix(name, ".") {
				queue = append(queue, path.Join(path.Dir(file), name))
				continue
			}
			parts := strings.SplitN(name, "/", 3)
			name = parts[0]
			if strings.HasPrefix(name, "@") && len(parts) > 1 {
				name += "/" + parts[1]
			}
			if d.DevDependencies[name] != "" && d.Dependencies[name] == "" {
				return file, name
			}
		}
	}
	return "", ""
}
