package move

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
)

// NotifyWriter sends the signal of a rule to the writer of its files.
func NotifyWriter(ctx context.Context, s *rule.Signal) error {
	var text []byte
	var err error
	if s.PIDFile != "" {
		text, err = os.ReadFile(s.PIDFile)
	} else {
		text, err = exec.CommandContext(ctx, "systemctl", "show", "--property=MainPID", "--value", "--", s.Unit).Output()
	}
	if err != nil {
		return fmt.Errorf("find the writer to signal: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("find the writer to signal: %q is not a process", strings.TrimSpace(string(text)))
	}
	sig := s.Number()
	if err := unix.Kill(pid, sig); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), pid, err)
	}
	return nil
}
