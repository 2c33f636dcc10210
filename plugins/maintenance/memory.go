package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
)

// memory is what an agent knows beside its journal, and the next one must know.
type memory struct {
	Drilled   time.Time               `json:"drilled"`             // when backups were read back last
	Restored  map[file.Name]time.Time `json:"restored,omitempty"`  // files that were restored, and until when they are left alone
	Restoring file.Name               `json:"restoring,omitempty"` // an unfinished file, to be removed
}

// leftAlone is how long a restored file is not moved, although it may be due by its age.
const leftAlone = 24 * time.Hour

func memoryFile(stateDir string) string { return filepath.Join(stateDir, "memory.json") }

func readMemory(stateDir string) (memory, error) {
	m := memory{Restored: map[file.Name]time.Time{}}
	b, err := os.ReadFile(memoryFile(stateDir))
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if m.Restored == nil {
		m.Restored = map[file.Name]time.Time{}
	}
	return m, err
}

// remember writes the memory.
func (a *agent) remember() error {
	for name, until := range a.memory.Restored {
		if a.now().After(until) {
			delete(a.memory.Restored, name)
		}
	}
	b, err := json.Marshal(a.memory)
	if err == nil {
		err = renameio.WriteFile(memoryFile(a.info.StateDir), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write memory: %w", err)
	}
	return nil
}

// removeLeftover removes what a killed agent has left of a file that it restored.
func (a *agent) removeLeftover() error {
	name := string(a.memory.Restoring)
	if name == "" {
		return nil
	}
	if strings.HasPrefix(path.Base(name), restorePrefix) && a.places.Hold(path.Dir(name)) {
		d, err := file.OpenFolder(path.Dir(name), path.Dir(name))
		if err == nil {
			err = errors.Join(d.Remove(path.Base(name)), d.Close())
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	a.memory.Restoring = ""
	return a.remember()
}
