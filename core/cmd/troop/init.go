package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/manifest/starter"
)

func (a *app) initCmd() *cobra.Command {
	return &cobra.Command{
		Use: "init [FOLDER]", Short: "Write a manifest for the project in a folder", Args: cobra.MaximumNArgs(1),
		Long: `Init looks at the files of a project (Go, Node, Python, Maven, Gradle, or anything with a Makefile) and writes a
pipeline.hcl that builds and tests it and searches it for secrets. A manifest that is there already stays.`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			s, err := starter.For(dir)
			if err != nil {
				return err
			}
			file := filepath.Join(dir, "pipeline.hcl")
			if err := writeNew(file, s.Text, 0o644); errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s is there already; look at it with: troop validate %s", file, file)
			} else if err != nil {
				return err
			}
			a.ui.JSON(map[string]string{"file": file, "kind": s.Kind})
			a.ui.Printf("wrote %s for a project of kind %s", file, s.Kind)
			if _, err := git.Open(c.Context(), dir); err != nil {
				a.ui.Printf("next: git init, since a run takes a commit")
			}
			a.ui.Printf("next: troop validate %[1]s, then commit it, then troop run %[1]s", file)
			return nil
		},
	}
}

// writeNew writes a file that must not be there yet; else the error is fs.ErrExist.
func writeNew(file string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
