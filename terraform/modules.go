// Package modules embeds the Terraform root modules that ship with troop. core/environment imports it.
package modules

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:embed aws/*.tf lab/*.tf
var files embed.FS

// Open returns the module with that name.
func Open(name string) (fs.FS, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("no module %q ships with troop, only %s", name, strings.Join(Names(), ", "))
	}
	return fs.Sub(files, name)
}

// Names lists the modules, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the root of an embedded tree always exists
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
