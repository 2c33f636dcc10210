package proc_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", `sh -c 'sleep 1000 & exec sleep 1001' & wait`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tree := proc.Tree{Root: cmd.Process.Pid}
	t.Cleanup(func() {
		proc.End(tree, syscall.SIGKILL, 0)
		_ = cmd.Wait()
	})
	pid := regexp.MustCompile(`pid \d+`)
	want := []string{"sleep 1001 (pid N)", "  sleep 1000 (pid N)"}
	var got []string
	for range 500 {
		got = strings.Split(pid.ReplaceAllString(strings.Join(tree.Describe(), "\n"), "pid N"), "\n")
		if slices.Equal(got, want) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("got %q, want %q; this process is %d", got, want, os.Getpid())
}
