package main

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

const (
	shownThreads = 5
	logLines     = 5
	logBytes     = 2000 // of one line
	logWait      = 3 * time.Second
)

// evidence describes a process before a step. Events carry it.
func (a *agent) evidence(ctx context.Context, h limit.Hog, f process.Facts) map[string]any {
	chain := make([]string, 0, len(f.Chain))
	for _, p := range f.Chain {
		chain = append(chain, p.String())
	}
	data := map[string]any{
		"pid": f.PID, "start": f.Start, "command": process.CommandLine(a.at.proc, f),
		"executable": f.Executable, "cgroup": f.Cgroup, "unit": f.Unit, "parents": chain, "nice": f.Nice, "state": f.State,
		"resource": h.Resource, "percent": round(h.Value), "limit": round(h.Limit), "seconds": round(h.Window.Seconds()),
	}
	if uid := f.EffectiveUID(); uid >= 0 {
		data["uid"], data["user"] = uid, f.User
	}
	if h.Full > 0 {
		data["full_in_seconds"] = round(h.Full.Seconds())
	}
	if h.Waited > 0 {
		data["waited_percent"] = round(h.Waited)
	}
	if line := a.windows.Sparkline(h); line != "" {
		data["cpu"] = line
	}
	count, files := process.OpenFiles(ctx, a.at.proc, f.PID)
	if count >= 0 {
		data["open_files"] = count
	}
	if len(files) > 0 {
		data["files"] = files
	}
	if threads := process.TopThreads(a.at.proc, f.PID, shownThreads); len(threads) > 1 {
		data["threads"] = threads
	}
	if lines := unitLog(ctx, f.Unit); len(lines) > 0 {
		data["log"] = lines
	}
	return data
}

// unitLog returns the last lines that a unit has logged, if the host has a journal that the doctor may read.
func unitLog(ctx context.Context, unit string) []string {
	if unit == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, "journalctl", "--unit", unit, "--lines", fmt.Sprint(logLines), "--no-pager", "--quiet", "--output", "short-iso").Output()
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		line = strings.ToValidUTF8(strings.TrimSpace(line), "\uFFFD")
		if line = process.RedactText(line); line != "" {
			list = append(list, line[:min(len(line), logBytes)])
		}
	}
	return list
}

func round(v float64) float64 { return float64(int(v*10+0.5)) / 10 }

// describe names a process for messages.
func describe(f process.Facts) string {
	name := filepath.Base(f.Executable)
	if f.Executable == "" {
		name = cmp.Or(f.Comm, "a process that cannot be examined")
	}
	text := fmt.Sprintf("%s (pid %d)", name, f.PID)
	if user := f.User; user != "" {
		return text + " of " + user
	}
	if uid := f.EffectiveUID(); uid >= 0 {
		return fmt.Sprintf("%s of uid %d", text, uid)
	}
	return text
}

func use(h limit.Hog) string {
	if h.Resource == "memory" {
		text := fmt.Sprintf("%.0f %% of the host's memory", h.Value)
		if h.Full > 0 {
			text += fmt.Sprintf(", growing so that it is full in %.0f s,", h.Full.Seconds())
		}
		return text
	}
	if h.Waited > 0 && h.UID != 0 {
		return fmt.Sprintf("%.0f %% of one core, never sleep, and wait for %.0f %% more", h.Value, h.Waited)
	}
	if h.Waited > 0 {
		return fmt.Sprintf("%.0f %% of one core, never sleeps, and waits for a core %.0f %% of the time", h.Value, h.Waited)
	}
	return fmt.Sprintf("%.0f %% of one core", h.Value)
}
