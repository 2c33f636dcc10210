package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/plugins/test/coverage"
)

// summary is the coverage of one run, kept for the next one to compare itself with.
type summary map[coverage.Kind]float64

const maxSummary = 1 << 20 // bytes; a written one is a few hundred

func summaryFile(stateDir string) string { return filepath.Join(stateDir, "coverage.json") }

// loadSummary returns that of the last run; an empty one when there was none.
func loadSummary(stateDir string) (summary, error) {
	s := summary{}
	f, err := os.Open(summaryFile(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.NewDecoder(io.LimitReader(f, maxSummary)).Decode(&s)
		_ = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("read last summary: %w", err)
	}
	return s, nil
}

func (s summary) save(stateDir string) error {
	b, err := json.Marshal(s)
	if err == nil {
		err = renameio.WriteFile(summaryFile(stateDir), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save summary: %w", err)
	}
	return nil
}
