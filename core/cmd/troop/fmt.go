package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/project"
)

func (a *app) fmtCmd() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "fmt [MANIFEST]", Short: "Bring a manifest into its usual layout",
		Long: `Fmt indents by two spaces, puts equals signs below each other, and ends the file with one new line. It names the
manifest when it has changed it. With - it reads standard input and writes standard output, for editors.

Exit status: 0 the layout is the usual one now, 1 with --check: it is not, 2 the manifest cannot be parsed.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "-" {
				return a.formatInput()
			}
			path, rest := line.Manifest(args)
			if err := line.Want(rest); err != nil {
				return err
			}
			return a.formatFile(path, check)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "change nothing, only tell")
	return c
}

func (a *app) formatInput() error {
	src, err := io.ReadAll(a.in)
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	const name = "standard input"
	text, diags := manifest.Reformat(name, src)
	if diags.HasErrors() {
		return &project.ManifestError{Diags: diags, Sources: manifest.Sources{name: src}}
	}
	_, err = a.text.Write(text)
	return err
}

func (a *app) formatFile(path string, check bool) error {
	f, diags, err := manifest.ReformatFile(path, check)
	if diags.HasErrors() {
		return &project.ManifestError{Diags: diags, Sources: manifest.Sources{f.File: f.Before}}
	}
	if err != nil {
		return err
	}
	a.ui.JSON(f)
	if !f.Changed {
		return nil
	}
	a.ui.Printf("%s", f.File)
	if check {
		return failed
	}
	return nil
}
