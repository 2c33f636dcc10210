// Package line reads the command line of troop: what is the manifest among the arguments, how many are left, and what is
// wrong with them.
package line

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest"
)

// Manifest takes the manifest off the arguments when the first one is one.
func Manifest(args []string) (path string, rest []string) {
	if len(args) == 0 {
		return "", nil
	}
	first := args[0]
	if strings.HasSuffix(first, ".hcl") || strings.HasSuffix(first, "/") {
		return first, args[1:]
	}
	if first == "." || first == ".." || strings.ContainsRune(first, filepath.Separator) {
		if info, err := os.Stat(first); err == nil && info.IsDir() {
			return first, args[1:]
		}
	}
	return "", args
}

// Want checks how many arguments are left after the manifest.
func Want(rest []string, names ...string) error {
	if len(rest) == len(names) {
		return nil
	}
	if len(names) == 0 {
		return Usage(fmt.Errorf("unexpected argument %q; a manifest ends in .hcl or is a folder written with a /", rest[0]))
	}
	return Usage(fmt.Errorf("want the arguments %s, got %d", strings.Join(names, " "), len(rest)))
}

// Offer completes an argument with names. Why there are none is not told: the user is in the middle of a line.
func Offer(names []string, err error) ([]string, cobra.ShellCompDirective) {
	if err != nil {
		names = nil
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// PluginDirs reads --plugin-dir before all other flags: it decides which commands there are.
func PluginDirs(args []string) []string {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.ParseErrorsAllowlist.UnknownFlags = true
	f.Usage = func() {}
	dirs := f.StringArray("plugin-dir", nil, "")
	_ = f.Parse(args) // the command itself reports mistakes
	return *dirs
}

// Folder is the folder of the manifest that a command line names.
func Folder(args []string) string {
	for _, arg := range args {
		if path, _ := Manifest([]string{arg}); path != "" {
			if file, diags := manifest.Find(path); !diags.HasErrors() {
				return filepath.Dir(file)
			}
		}
	}
	return "."
}

// RefuseUnknown runs a command that has only subcommands. For an unknown one, cobra would print help and exit with 0.
func RefuseUnknown(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	remedy := "see " + c.CommandPath() + " --help"
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if near := core.Nearest(args[0], names); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	return Usage(fmt.Errorf("unknown command %q for %q; %s", args[0], c.CommandPath(), remedy))
}

// UnlessEnded drops the error of a command that runs until it is interrupted.
func UnlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// Usage is a mistake on the command line.
func Usage(err error) error { return &core.UsageError{Err: err} }
