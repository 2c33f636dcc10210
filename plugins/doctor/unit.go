package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// restartSignal returns the signal to a unit's main process that makes systemd restart it. The doctor is not root and cannot
// ask systemd for a restart. Killing the main process works only if the unit restarts automatically; otherwise the
// application would stay down.
func restartSignal(restart string, again bool) (unix.Signal, error) {
	switch restart {
	case "always":
		if again {
			return unix.SIGKILL, nil
		}
		return unix.SIGTERM, nil
	case "on-failure", "on-abnormal", "on-abort": // for them, SIGTERM is a clean exit
		if restart == "on-abort" {
			return unix.SIGABRT, nil
		}
		return unix.SIGKILL, nil
	}
	return 0, fmt.Errorf("the unit has Restart=%s and would stay down: set Restart=always", restart)
}

// unitProperties asks systemd for a unit's restart policy and main process; any user may.
func unitProperties(ctx context.Context, unit string) (restart string, mainPID int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=Restart,MainPID", "--", unit).Output()
	if err != nil {
		return "", 0, fmt.Errorf("ask systemd for unit %s: %w", unit, err)
	}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "Restart":
			restart = value
		case "MainPID":
			mainPID, err = strconv.Atoi(value)
		}
	}
	if err != nil || mainPID <= 1 {
		return "", 0, fmt.Errorf("ask systemd for unit %s: it has no main process", unit)
	}
	return restart, mainPID, nil
}
