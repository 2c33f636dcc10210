package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/manifest/starter"
)

func (a *app) initCmd() *cobra.Command {
	return &cobra.Command{
		Use: "init [FOLDER]", Short: "Write a manifest for the project in a folder", Args: cobra.MaximumNArgs(1),
		Long: `Init looks at the files of a project (Go, Node, Python, Rust, Maven, Gradle, PHP, Ruby, .NET, or anything with a Makefile or
a test.sh) and writes a pipeline.hcl that builds it, tests it with results and coverage as far as its tools report them,
and searches it for secrets. What it could not know stands there as a comment with a question. A manifest that is there
already stays.`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			dir := append(args, ".")[0]
			s, err := starter.Ask(c.Context(), dir)
			if err != nil {
				return err
			}
			file := filepath.Join(dir, "pipeline.hcl")
			if err := s.Write(file); errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s is there already; look at it with: troop validate %s", file, file)
			} else if err != nil {
				return err
			}
			missing := s.Missing()
			a.ui.JSON(map[string]any{"file": file, "kind": s.Kind, "missing": missing, "questions": s.Asks})
			a.ui.Printf("wrote %s for a project of kind %s", file, s.Kind)
			a.ui.Printf("%s", s.Shows())
			if s.Asks > 0 {
				a.ui.Printf("questions: %d, in comments that begin with # ?", s.Asks)
			}
			for _, name := range missing {
				a.ui.Printf("missing: %s is not installed here; a run would fail without it", name)
			}
			if _, err := git.Open(c.Context(), dir); err != nil {
				a.ui.Printf("next: git init, since a run takes a commit")
			}
			a.ui.Printf("next: troop validate %[1]s, then commit it, then troop run %[1]s --until test", file)
			return nil
		},
	}
}
