package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// TestAdversaries has hogs that do what they can to be taken for something else, or to outlive their treatment. Each ends.
func TestAdversaries(t *testing.T) {
	const spin = "while :; do :; done"
	const burn = "n=0; while [ $n -lt 60000 ]; do n=$((n+1)); done; "
	python := func(lines ...string) string {
		return "exec python3 -c '" + strings.Join(append([]string{"import ctypes, os, signal, threading, time"}, lines...), "\n") + "'"
	}
	for name, script := range map[string]string{
		"is named like sshd":               python(`ctypes.CDLL(None).prctl(15, b"sshd")`, "while True: pass"),
		"says that it is systemd":          python(`os.execv("/usr/bin/python3", ["/lib/systemd/systemd", "-c", "while True: pass"])`),
		"is a copy that is called tmux":    "cp /bin/sh tmux; exec ./tmux -c '" + spin + "'",
		"is no more on disk":               "cp /bin/sh gone; exec ./gone -c 'rm gone; " + spin + "'",
		"has a name with a line break":     "cp /bin/sh 'a\nb'; exec './a\nb' -c '" + spin + "'",
		"has a long command line":          "exec python3 -c 'while True: pass' $(seq 20000)",
		"replaces itself all the time":     "export S='" + burn + "exec sh -c \"$S\"'; exec sh -c \"$S\"",
		"hands over to its child":          "export S='" + burn + burn + burn + burn + "sh -c \"$S\" & exit'; sh -c \"$S\"; exec sleep 600",
		"answers SIGTERM with its copy":    "export S='trap \"sh -c \\\"\\$S\\\" & exit\" TERM; " + spin + "'; exec sh -c \"$S\"",
		"forks when it is told to end":     "trap 'for i in 1 2 3; do sh -c \"trap : TERM; " + spin + "\" & done' TERM; " + spin,
		"ignores all signals that it can":  python("for s in range(1, 32):", " try: signal.signal(s, signal.SIG_IGN)", " except OSError: pass", "while True: pass"),
		"runs at nice 19":                  "renice -n 19 $$ >/dev/null; " + spin,
		"burns in a thread, main sleeps":   python("def burn():", " while True: pass", "threading.Thread(target=burn).start()", "time.sleep(600)"),
		"has left its session":             "setsid sh -c '" + spin + "' & exec sleep 0.2",
		"is below 70 parents":              "export N=70; export S='N=$((N-1)); if [ $N -gt 0 ]; then sh -c \"$S\"; :; else " + spin + "; fi'; sh -c \"$S\"; :",
		"sleeps a fifth of the time":       python("while True:", " t = time.time() + 0.16", " while time.time() < t: pass", " time.sleep(0.04)"),
		"stops and continues its children": "while :; do (" + burn + ") & kill -STOP $!; kill -CONT $!; wait; done",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o711), os.Chown(dir, int(hogUID), int(hogUID))); err != nil {
				t.Fatal(err)
			}
			swarm(t, hogUID, 1, "/bin/sh", "cd "+dir+" && "+script)
			hurry(t)
			c := quick
			c.CPU = &cpuLimit{Above: 5, For: sdk.Duration(time.Second)}
			c.Treat = []string{"alert", "renice", "terminate", "kill"}
			a, o := startDoctor(t, c, "production")
			a.sampler = onlyUser{a.sampler, hogUID}
			var left []process.Ident
			ended := func() bool {
				left = slices.DeleteFunc(living(t, hogUID), func(id process.Ident) bool { return idle(id) })
				return len(left) == 0 && (o.find("process.terminated") != nil || o.find("process.killed") != nil)
			}
			for deadline := time.Now().Add(patience); time.Now().Before(deadline) && !ended(); time.Sleep(a.interval) {
				if err := a.Tick(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if len(left) > 0 {
				t.Fatalf("%d processes are left: %v; published %v", len(left), commands(left), o.kinds())
			}
			for _, e := range o.events {
				if command := fmt.Sprint(e.Data["command"]); len(e.Summary) > 1000 || len(command) > 4000 {
					t.Errorf("an event of %d bytes with a command of %d", len(e.Summary), len(command))
				}
			}
		})
	}
}

// idle reports whether a process only sleeps: it is no part of a hog.
func idle(id process.Ident) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", id.PID))
	return err == nil && filepath.Base(exe) == "sleep"
}
