package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Share returns a process's proportional share of memory (PSS), in bytes: a page that n processes have in common counts as
// 1/n for each of them.
func Share(proc string, id Ident) (int64, error) {
	dir := folder(proc, id.PID)
	b, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", id.PID, asGone(err))
	}
	_, rest, ok := bytes.Cut(b, []byte("\nPss:"))
	if !ok {
		return 0, fmt.Errorf("parse memory of process %d: no Pss", id.PID)
	}
	return int64(number(bytes.TrimLeft(rest, " "))) << 10, nil
}
