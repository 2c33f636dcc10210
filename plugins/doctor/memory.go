package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
)

func memoryFile(stateDir string) string { return filepath.Join(stateDir, "ladder.json") }

// readMemory reads what the agent before this one remembered of its acts. Without it, nothing was done yet.
func readMemory(stateDir string, warn func(string, ...any)) ladder.Memory {
	var m ladder.Memory
	b, err := os.ReadFile(memoryFile(stateDir))
	if errors.Is(err, os.ErrNotExist) {
		return m
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		warn("read the memory of past acts: %v", err)
		return ladder.Memory{}
	}
	return m
}

// keepMemory writes the policy's memory when it has changed. It is tried again at the next tick.
func (a *agent) keepMemory() {
	b, err := json.Marshal(a.policy.Memory())
	if err != nil || string(b) == a.kept {
		return
	}
	err = renameio.WriteFile(memoryFile(a.info.StateDir), b, 0o600)
	if err != nil && !a.unkept { // an outage is logged once
		a.warn("keep the memory of past acts: %v", err)
	}
	if a.unkept = err != nil; !a.unkept {
		a.kept = string(b)
	}
}
