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

// readMemory reads the previous agent's record of its actions. A missing file means no actions.
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
		warn("read record of past actions: %v", err)
		return ladder.Memory{}
	}
	return m
}

// keepMemory writes the policy's memory if it has changed. A failed write is retried at the next tick.
func (a *agent) keepMemory() {
	b, err := json.Marshal(a.policy.Memory())
	if err != nil || string(b) == a.kept {
		return
	}
	err = renameio.WriteFile(memoryFile(a.info.StateDir), b, 0o600)
	if err != nil && !a.unkept { // an outage is logged once
		a.warn("write record of past actions: %v", err)
	}
	if a.unkept = err != nil; !a.unkept {
		a.kept = string(b)
	}
}
