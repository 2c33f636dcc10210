package move

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
)

// TestPIDFile has files of several owners that name a process of a user, and of root. Who may be signalled is signalled.
func TestPIDFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test starts processes of other users: run it as root")
	}
	const app, other = 60001, 60002
	for name, test := range map[string]struct {
		process, owner int
		refused        bool
	}{
		"a user's own process":     {app, app, false},
		"root's file":              {app, 0, false},
		"root's file and process":  {0, 0, false},
		"a user names root's":      {0, app, true},
		"a user names another's":   {other, app, true},
		"one user for the service": {app, other, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), "sleep", "60")
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(test.process), Gid: uint32(test.process)}}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
			dir := t.TempDir()
			link := filepath.Join(t.TempDir(), "run") // as /var/run is one
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			pidFile := filepath.Join(dir, "app.pid")
			if err := errors.Join(os.WriteFile(pidFile, fmt.Appendln(nil, c.Process.Pid), 0o644), os.Chown(pidFile, test.owner, test.owner)); err != nil {
				t.Fatal(err)
			}
			w, err := FindWriter(t.Context(), rule.Signal{Send: "USR1", PIDFile: filepath.Join(link, "app.pid")})
			if test.refused {
				if !errors.Is(err, file.ErrUnsafe) {
					t.Errorf("got %v, want it refused", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(w.Signal(), w.Close()); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); c.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGUSR1 {
				t.Errorf("it ended by %v, want SIGUSR1", err)
			}
		})
	}
}

// TestBadPIDFile has files that name no process, or are no files.
func TestBadPIDFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "text": "app", "init": "1\n", "group": "-7\n", "gone": strconv.Itoa(1<<22-1) + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600), os.Symlink("empty", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for name, none := range map[string]bool{
		"empty": false, "text": false, "init": false, "group": false, "fifo": false, "link": false, "gone": true, "missing": true,
	} {
		w, err := FindWriter(t.Context(), rule.Signal{PIDFile: filepath.Join(dir, name)})
		if err == nil {
			t.Fatalf("%s: process %d", name, w.pid)
		}
		if errors.Is(err, ErrNoWriter) != none {
			t.Errorf("%s: %v; want that there is no writer: %v", name, err, none)
		}
	}
}
