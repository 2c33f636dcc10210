package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkSecondCommit is the build of a second commit of a project with some 500 npm packages, beside npm ci with a
// warm cache. Each commit is built with an empty home folder, as on a new machine: only the stage's cache is kept. The
// budget is 1.3 times npm ci. It downloads the packages once.
func BenchmarkSecondCommit(b *testing.B) {
	bin, err := plugins()
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	home := filepath.Join(dir, "home")
	do := func(script string) time.Duration {
		b.Helper()
		c := exec.CommandContext(b.Context(), "sh", "-euc", script)
		c.Dir = dir
		c.Env = append(os.Environ(), "HOME="+home, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost",
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost", "PLUGINS="+filepath.Clean(bin))
		start := time.Now()
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", script, err, out)
		}
		return time.Since(start)
	}
	settings, err := os.ReadFile(filepath.Join(os.Getenv("HOME"), ".npmrc"))
	if err != nil {
		settings = nil // npm's own
	}
	files := map[string]string{
		"home/.npmrc":       string(settings),
		"shop/package.json": `{"name": "shop", "version": "1.0.0"}`,
		"shop/.gitignore":   "node_modules/\n",
		"shop/pipeline.hcl": "pipeline \"shop\" {\n  source { path = \".\" }\n}\nstage \"build\" \"app\" {\n  command = [\"npm\", \"ci\", \"--no-audit\", \"--no-fund\", \"--ignore-scripts\"]\n" +
			"  cache {\n    paths = [\"~/.npm/_cacache\"]\n    key   = filehash(\"package-lock.json\")\n  }\n}\n",
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	do("cd shop; npm install --no-audit --no-fund --ignore-scripts express@5 eslint@9 jest@30 webpack@5 mocha@11 nyc@17 >/dev/null 2>&1; rm -r node_modules; git init -q; git add -A; git commit -q -m first")
	var lock struct{ Packages map[string]any }
	text, err := os.ReadFile(filepath.Join(dir, "shop/package-lock.json"))
	if err == nil {
		err = json.Unmarshal(text, &lock)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(lock.Packages)), "packages")
	do("cd shop; troop --plugin-dir $PLUGINS run >/dev/null")
	var ci, build time.Duration
	for i := 0; b.Loop(); i++ {
		do("rm -rf copy; git clone -q shop copy")
		ci += do("cd copy; npm ci --no-audit --no-fund --ignore-scripts >/dev/null")
		do(fmt.Sprintf("rm -rf home/.npm; cd shop; echo %d > n; git add -A; git commit -q -m next", i))
		build += do("cd shop; troop --plugin-dir $PLUGINS run >/dev/null")
	}
	b.ReportMetric(float64(ci.Milliseconds())/float64(b.N), "ms/npm-ci")
	b.ReportMetric(float64(build.Milliseconds())/float64(b.N), "ms/build")
	b.ReportMetric(float64(build)/float64(ci), "times-npm-ci")
}
