package starter

import (
	"regexp"
	"slices"
	"strings"
)

var modulePattern = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)`)

func golang(p *project) {
	if m := modulePattern.FindStringSubmatch(p.text("go.mod")); m != nil {
		p.Name = regexp.MustCompile(`/v\d+$`).ReplaceAllString(m[1], "")
	}
	p.Build = [][]string{{"go", "build", "./..."}}
	p.keep("go.sum", "~/go/pkg/mod/cache/download")
	p.Test = []string{"go", "test", "-json", "-coverprofile=coverage.out", "./..."}
	p.report("go", "-")
	p.report("coverage", "coverage.out")
}

// requirements are the files of pip in which the packages of the tests may stand.
var requirements = []string{
	"requirements.txt", "requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt", "requirements-test.txt",
	"test-requirements.txt", "requirements/dev.txt", "requirements/test.txt",
}

func python(p *project) {
	texts := []string{p.text("pyproject.toml"), p.text("setup.cfg"), p.text("tox.ini"), p.text("setup.py")}
	var named []string // requirements of the project
	for _, file := range requirements {
		if p.has(file) {
			named = append(named, file)
			texts = append(texts, p.text(file))
		}
	}
	settings := strings.Join(texts, "\n")
	tested := strings.Contains(settings, "pytest") || p.has("pytest.ini") || p.has("conftest.py") || p.has("tests/conftest.py") || p.usesPytest()
	prefix := []string{"python3"}
	switch {
	case p.has("uv.lock"):
		prefix = []string{"uv", "run", "python"}
		p.Build = [][]string{{"uv", "sync", "--frozen"}}
		p.keep("uv.lock", "~/.cache/uv")
	case p.has("poetry.lock"):
		prefix = []string{"poetry", "run", "python"}
		p.Build = [][]string{{"poetry", "install", "--no-interaction"}}
		p.keep("poetry.lock", "~/.cache/pypoetry/cache", "~/.cache/pypoetry/artifacts")
	default:
		prefix = p.environment(prefix, settings, named, tested)
	}
	p.Build = append(p.Build, append(slices.Clone(prefix), "-m", "compileall", "-q", "-x", `\.venv`, "."))
	if !tested {
		p.unittest(prefix)
		return
	}
	source := "."
	if p.has("src") {
		source = "src"
	}
	p.Test = append(slices.Clone(prefix), "-m", "pytest", "--junit-xml=reports/junit.xml")
	p.report("junit", "reports/junit.xml")
	if len(prefix) > 1 && !strings.Contains(settings, "pytest-cov") {
		p.ask("Coverage: add pytest-cov to the packages, --cov=%s --cov-report=xml:reports/coverage.xml to the command,", source)
		p.TestNotes = append(p.TestNotes, `  and coverage = "reports/coverage.xml" to the reports.`)
		return
	}
	p.Test = append(p.Test, "--cov="+source, "--cov-report=xml:reports/coverage.xml")
	p.report("coverage", "reports/coverage.xml")
}

func (p *project) usesPytest() bool {
	file := p.first("tests/test_*.py", "test_*.py", "tests/*_test.py", "test/test_*.py")
	text := p.text(file)
	return file != "" && !strings.Contains(text, "unittest") && regexp.MustCompile(`(?m)^(?:async )?def test_|import pytest`).MatchString(text)
}

// environment makes a virtual environment when there is something to install into it.
func (p *project) environment(prefix []string, settings string, named []string, tested bool) []string {
	depends := regexp.MustCompile(`(?m)^\s*(?:dependencies|install_requires)\s*=`).MatchString(settings)
	if len(named) == 0 && !depends && !tested {
		return prefix
	}
	prefix = []string{".venv/bin/python"}
	create := []string{"python3", "-m", "venv", ".venv"}
	install := append(slices.Clone(prefix), "-m", "pip", "install")
	for _, file := range named {
		install = append(install, "-r", file)
	}
	if depends {
		install = append(install, "-e", ".")
	}
	if len(named) == 0 && !depends {
		create = []string{"python3", "-m", "venv", "--system-site-packages", ".venv"}
	}
	if tested {
		install = append(install, "pytest", "pytest-cov")
	}
	p.Build = [][]string{create, install}
	if lock := p.first(append([]string{"requirements.txt", "pyproject.toml"}, requirements...)...); lock != "" {
		p.keep(lock, "~/.cache/pip")
	}
	return prefix
}

func (p *project) unittest(prefix []string) {
	p.Test = append(slices.Clone(prefix), "-m", "unittest", "discover")
	for _, folder := range []string{"tests", "test"} {
		if p.has(folder + "/__init__.py") {
			p.Test = append(p.Test, "-s", folder, "-t", ".")
			break
		}
		if p.has(folder + "/*.py") {
			p.Test = append(p.Test, "-s", folder)
			break
		}
	}
	p.ask("Results and coverage: pytest runs these tests, too: -m pytest --junit-xml=reports/junit.xml --cov=. --cov-report=xml:reports/coverage.xml")
}

func rust(p *project) {
	locked := []string(nil)
	if p.has("Cargo.lock") {
		locked = []string{"--locked"}
	}
	if m := regexp.MustCompile(`(?m)^name\s*=\s*"([^"]+)"`).FindStringSubmatch(p.text("Cargo.toml")); m != nil {
		p.Name = m[1]
	}
	p.Build = [][]string{append([]string{"cargo", "build"}, locked...)}
	p.keep("Cargo.lock", "~/.cargo/registry")
	p.Test = append([]string{"cargo", "test"}, locked...)
	p.ask("Coverage: cargo llvm-cov --lcov --output-path lcov.info runs the tests and writes it; reports { coverage = \"lcov.info\" }")
}

func maven(p *project) {
	tool := "mvn"
	if p.has("mvnw") {
		tool = "./mvnw"
	}
	p.Build = [][]string{{tool, "--batch-mode", "package", "-DskipTests"}}
	p.keep("pom.xml", "~/.m2/repository")
	p.Test = []string{tool, "--batch-mode", "test"}
	p.report("junit", "target/surefire-reports/*.xml")
	p.ask("Coverage: which plugin of the pom.xml writes Cobertura or Clover XML, and where? JaCoCo's own XML is not read.")
}

func gradle(p *project) {
	tool := "gradle"
	if p.has("gradlew") {
		tool = "./gradlew"
	}
	p.Build = [][]string{{tool, "assemble"}}
	p.keep(p.first("gradle.lockfile", "gradle/libs.versions.toml", "build.gradle", "build.gradle.kts"), "~/.gradle/caches/modules-2")
	p.Test = []string{tool, "test"}
	p.report("junit", "build/test-results/test/*.xml")
	p.ask("Coverage: which plugin writes Cobertura or Clover XML, and where? JaCoCo's own XML is not read.")
}

func php(p *project) {
	if p.has("composer.json") {
		p.Build = [][]string{{"composer", "install", "--no-interaction", "--no-progress"}}
		p.keep("composer.lock", "~/.cache/composer")
	}
	settings := p.text("composer.json")
	runner := "phpunit"
	switch {
	case strings.Contains(settings, "pestphp/pest"):
		runner = "vendor/bin/pest"
	case strings.Contains(settings, "phpunit/phpunit"):
		runner = "vendor/bin/phpunit"
	}
	p.Test = []string{runner, "--log-junit", "reports/junit.xml"}
	p.report("junit", "reports/junit.xml")
	if modules := p.probe("php", "-m"); !strings.Contains(modules, "pcov") && !strings.Contains(modules, "xdebug") {
		p.ask("Coverage: PHP needs pcov or Xdebug for it; then --coverage-clover reports/clover.xml, and coverage = \"reports/clover.xml\"")
		return
	}
	p.Test = append(p.Test, "--coverage-clover", "reports/clover.xml")
	p.report("coverage", "reports/clover.xml")
}

func ruby(p *project) {
	gems := p.text("Gemfile") + p.text("Gemfile.lock") + p.text(p.first("*.gemspec"))
	var prefix []string
	if p.has("Gemfile") {
		p.Env = `BUNDLE_PATH = "vendor/bundle"`
		p.Build = [][]string{{"bundle", "install"}}
		p.keep("Gemfile.lock", "vendor/bundle")
		prefix = []string{"bundle", "exec"}
	}
	p.Test = append(prefix, "rake", "test")
	switch {
	case p.has(".rspec"), p.has("spec/*_spec.rb"), p.has("spec/*/*_spec.rb"):
		p.Test = append(slices.Clone(prefix), "rspec")
		if strings.Contains(gems, "rspec_junit_formatter") {
			p.Test = append(p.Test, "--format", "progress", "--format", "RspecJunitFormatter", "--out", "reports/junit.xml")
			p.report("junit", "reports/junit.xml")
		} else {
			p.ask("Results: the gem rspec_junit_formatter, then --format RspecJunitFormatter --out reports/junit.xml, and reports { junit = … }")
		}
	case strings.Contains(p.text("Rakefile"), "spec"):
		p.Test = append(slices.Clone(prefix), "rake", "spec")
	}
	switch {
	case strings.Contains(gems, "simplecov-cobertura"):
		p.report("coverage", "coverage/coverage.xml")
	case strings.Contains(gems, "simplecov-lcov"):
		p.report("coverage", "coverage/lcov/*.lcov")
	default:
		p.ask("Coverage: the gem simplecov-cobertura, then reports { coverage = \"coverage/coverage.xml\" }")
	}
}

func dotnet(p *project) {
	var texts []string
	for _, pattern := range []string{"*.csproj", "*/*.csproj", "*/*/*.csproj", "*.fsproj"} {
		texts = append(texts, p.text(p.first(pattern)))
	}
	project := strings.Join(texts, "\n")
	p.Build = [][]string{{"dotnet", "build"}}
	p.keep(p.first("packages.lock.json", "*/packages.lock.json"), "~/.nuget/packages")
	p.Test = []string{"dotnet", "test", "--no-build"}
	if strings.Contains(project, "JunitXml.TestLogger") {
		p.Test = append(p.Test, "--logger", "junit")
		p.report("junit", "**/TestResults/TestResults.xml")
	} else {
		p.ask("Results: the package JunitXml.TestLogger, then --logger junit, and junit = \"**/TestResults/TestResults.xml\"")
	}
	if strings.Contains(project, "coverlet.collector") {
		p.Test = append(p.Test, "--collect", "XPlat Code Coverage")
		p.report("coverage", "**/TestResults/*/coverage.cobertura.xml")
		return
	}
	p.ask("Coverage: the package coverlet.collector, then --collect \"XPlat Code Coverage\", and coverage = \"**/TestResults/*/coverage.cobertura.xml\"")
}

// coverageFiles are what lcov and gcovr write, as a recipe names it.
var coverageFiles = regexp.MustCompile(`(?:lcov\b.*(?:-o|--output-file)[ =]?|gcovr\b.*(?:-o|--cobertura|--xml)[ =]?)\s*([\w./-]+\.(?:info|xml))`)

func makefile(p *project) {
	text := p.text("GNUmakefile") + p.text("makefile") + p.text("Makefile")
	has := func(target string) bool {
		return regexp.MustCompile(`(?m)^([\w.-]+ )*` + target + `( [\w.-]+)*\s*:([^=]|$)`).MatchString(text)
	}
	p.Build = [][]string{{"make"}}
	if has("build") {
		p.Build = [][]string{{"make", "build"}}
	}
	for _, target := range []string{"test", "check", "tests"} {
		if has(target) {
			p.Test = []string{"make", target}
			break
		}
	}
	if p.Test == nil {
		p.ask("Tests: which command runs them? The Makefile has no target test or check.")
		return
	}
	p.results(text)
	if m := coverageFiles.FindStringSubmatch(text); m != nil {
		p.report("coverage", m[1])
		return
	}
	p.ask("Coverage: which target writes lcov.info or Cobertura XML? lcov --capture --directory . --output-file lcov.info does, for gcc --coverage.")
}

// results finds TAP in the text of a script: it is on standard output then.
func (p *project) results(text string) {
	if strings.Contains(text, "not ok") || regexp.MustCompile(`\bprove\b|\bbats\b.*--tap`).MatchString(text) && strings.Contains(text, "-v") {
		p.report("tap", "-")
		return
	}
	p.ask("Results: does a report of the tests come in JUnit XML or TAP? reports { tap = \"-\" } is standard output.")
}

func shell(p *project) {
	if p.has("test/*.bats") || p.has("tests/*.bats") {
		folder := "tests"
		if p.has("test/*.bats") {
			folder = "test"
		}
		p.Test = []string{"bats", "--formatter", "tap", folder}
		p.report("tap", "-")
	} else {
		script := p.first("test.sh", "run-tests.sh", "test/run.sh", "tests/run.sh")
		text := p.text(script)
		interpreter := "sh"
		if first, _, _ := strings.Cut(text, "\n"); strings.Contains(first, "bash") {
			interpreter = "bash"
		}
		p.Test = []string{interpreter, script}
		p.results(text)
	}
	p.ask("Coverage: kcov writes Cobertura XML for shell scripts: kcov reports COMMAND …, coverage = \"reports/**/cobertura.xml\"")
}
