package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestProjects is the first minutes of a new user: a fresh clone of a project as they are found, troop init,
// troop validate, troop run up to its tests, and nothing edited. The projects have one test that a wrong line of
// theirs breaks; then the run has to fail.
func TestProjects(t *testing.T) {
	projects, err := filepath.Abs("../../manifest/starter/testdata/projects")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := plugins()
	if err != nil {
		t.Fatal(err)
	}
	for name, breakIt := range map[string]string{
		"go":     "sed -i s/+=/-=/ pricelist/pricelist.go",
		"make":   "sed -i 's/+ cents/- cents/' sum.sh",
		"maven":  "sed -i '/^test)/,/^X/s/failures=\"0\"/failures=\"1\"/; s/time=\"0.01\"\\/>/time=\"0.01\"><failure message=\"no\"\\/><\\/testcase>/' mvnw",
		"node":   "sed -i 's/total + item/total - item/' lib/index.js",
		"python": "sed -i 's/sum(cents/sum(-cents/' pricelist/__init__.py",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			do := func(folder, script string) (string, error) {
				c := exec.CommandContext(t.Context(), "sh", "-euc", script)
				c.Dir = filepath.Join(dir, folder)
				c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost",
					"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost", "PLUGINS="+filepath.Clean(bin))
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
			must("", "cp -r "+filepath.Join(projects, name)+" origin; cd origin; git init -q -b main; git add -A; git commit -q -m first")
			must("", "git clone -q origin clone")
			must("clone", "troop init")
			must("clone", "troop --plugin-dir $PLUGINS validate")
			if out := must("clone", "troop --plugin-dir $PLUGINS run --until test"); !regexp.MustCompile(`test\.unit +passed`).MatchString(out) {
				t.Errorf("the tests did not run:\n%s", out)
			}
			must("clone", breakIt+"; git add -A; git commit -q -m broken")
			if out, err := do("clone", "troop --plugin-dir $PLUGINS run --until test"); err == nil || !regexp.MustCompile(`test\.unit +failed`).MatchString(out) {
				t.Errorf("broken, and the run says %v:\n%s", err, out)
			}
		})
	}
}
