package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// runtimes are the programs that run what a tree with one of these files becomes.
var runtimes = []struct {
	program string
	files   []string
}{
	{"node", []string{"package.json"}},
	{"python3", []string{"pyproject.toml", "requirements.txt", "setup.py"}},
}

// builtWith says with which runtimes dir was built, such as "node 20.19.2". The artifact carries it as the comment of its
// archive, and the stage deploy compares it with what the hosts have. Empty when nothing of dir needs a runtime.
func builtWith(ctx context.Context, job *sdk.Job, dir string) string {
	var found []string
	for _, r := range runtimes {
		if !slices.ContainsFunc(r.files, func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }) {
			continue
		}
		var said string
		err := job.Exec(ctx, sdk.Command{Args: []string{r.program, "--version"}, Dir: dir, Line: func(line string, stderr bool) {
			if !stderr {
				said += line
			}
		}})
		version := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(said), "Python "), "v") // v20.19.2, Python 3.11.2
		if err == nil && version != "" {
			found = append(found, r.program+" "+version)
		}
	}
	return strings.Join(found, ", ")
}
