//go:build lab

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDemo runs the demos in a clone, follows what they print, and removes them.
func TestDemo(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sh(t, root, "make -s authority")
	dir := filepath.Join(t.TempDir(), "troop")
	sh(t, root, "git clone -q . "+dir+" && cp -r bin .tools "+dir)
	demo := func(args string) string {
		t.Helper()
		began := time.Now()
		cmd := exec.Command("bash", "-c", "examples/demo.sh "+args)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("demo.sh %s: %v\n%s", args, err, tail(string(out), 60))
		}
		t.Logf("demo.sh %s: %.0f s\n%s", args, time.Since(began).Seconds(), tail(string(out), 40))
		return string(out)
	}
	w := &world{dir: filepath.Join(dir, "examples/storefront")}
	t.Cleanup(func() {
		demo("down")
		for _, environment := range []string{"lab", "one"} {
			if left := w.tracesOf(t, short(filepath.Join(w.dir, ".troop", environment, "terraform"), 8)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
		if left := processes(t, dir); len(left) > 0 {
			t.Errorf("processes are left:\n%s", strings.Join(left, "\n"))
		}
	})
	for _, environment := range []string{"lab", "one"} {
		t.Run(environment, func(t *testing.T) {
			out := demo("up " + environment)
			next := regexp.MustCompile(`(?m)^  shop=".*\n  for .*`).FindString(out)
			if got := strings.Count(sh(t, dir, next), "x-troop-pool: "); got != 6 {
				t.Errorf("%d answers to\n%s", got, next)
			}
			contains(t, sh(t, dir, "curl -sSIK examples/storefront/.troop/authority/curl https://shop.example.com/"), "HTTP/2 200")
			contains(t, sh(t, dir, "bin/troop tail examples/storefront/pipeline.hcl storefront --process worker --env "+environment+" --since 10m --follow=false"), "the worker is there")
		})
	}
}
