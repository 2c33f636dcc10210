package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unicode"
)

// Nothing in a repository steers the terminal of who looks at it: neither a commit's subject and branch, nor a name of
// a file, nor what a program writes, in any command that prints.
func TestTerminalIsNotSteered(t *testing.T) {
	dir, err := plugins()
	if err != nil {
		t.Fatal(err)
	}
	w := &sentinelWorld{dir: t.TempDir(), plugins: filepath.Clean(dir)}
	w.env = append(os.Environ(), "HOME="+filepath.Join(w.dir, "home"), "GIT_CONFIG_GLOBAL=/dev/null", "TERM=xterm-256color")
	const hostile = "x\x1b[2J\x1b]0;t\ay\u009b5m\b\u202ez"
	w.write(t, "shop/pipeline.hcl", `pipeline "shop" {
  source { path = "." }
}
stage "dummy" "says" {
  on_failure = "continue"
  log        = ["${file("text")}"]
  finding    = file("text")
  fail       = file("text")
}
stage "analysis" "lint" {
  on_failure = "continue"
  lint { command = ["sh", "-c", "for f in *; do echo \"$f:1: error: $f\"; done"] }
}
stage "build" "fails" { command = ["sh", "-c", "cat text; cat text >&2; exit 3"] }
`)
	w.write(t, "shop/bad.hcl", "pipeline \"bad\u202e\u009b2J\" {\n  source { path = \"no\x7f\u009b2Jwhere\u202e\" }\n}\n")
	w.write(t, "shop/text", hostile)
	w.write(t, "shop/"+hostile, "a name")
	w.write(t, "shop/.gitignore", ".troop/\n")
	sh := exec.CommandContext(t.Context(), "sh", "-euc",
		"git init -q -b \"a\u202eb\"; git add -A; git -c user.name=a -c user.email=a@localhost commit -q -m \"$SUBJECT\"")
	sh.Dir, sh.Env = w.dir+"/shop", append(w.env, "SUBJECT="+hostile)
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, args := range [][]string{
		{"run"},
		{"run", "-v"},
		{"run", "-q"},
		{"run", "--json"},
		{"runs"},
		{"runs", "--json"},
		{"show"},
		{"show", "--json"},
		{"logs"},
		{"logs", "--json"},
		{"why"},
		{"why", "--json"},
		{"verify"},
		{"graph"},
		{"validate"},
		{"validate", "bad.hcl"},
		{"validate", "bad.hcl", "--json"},
		{"logs", "no" + hostile},
		{hostile},
		{"plugin", "describe", hostile},
		{"hosts", "--env", hostile},
		{"events", "--env", hostile},
		{"plan", "--env", hostile},
		{"flag", "get", hostile},
		{"fmt", "--check", "bad.hcl"},
		{"hook", "install"},
	} {
		out, _ := w.command(t, args).CombinedOutput()
		if len(out) == 0 && args[0] != "run" && args[0] != "graph" && args[0] != "fmt" {
			t.Errorf("troop %q printed nothing", args)
		}
		for _, r := range string(out) {
			if r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Errorf("troop %q: %U in %q", args, r, out)
				break
			}
		}
	}
}
