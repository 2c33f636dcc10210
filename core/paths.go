package core

import (
	"path"
	"slices"
	"strings"
)

// Paths are patterns for files below the source folder: those of path.Match, and ** for any number of folders. A
// pattern that matches a folder matches all files in it. A leading ! excludes; the last matching pattern decides.
type Paths []string

// Match reports whether the patterns select a file.
func (p Paths) Match(file string) bool {
	names := strings.Split(file, "/")
	for _, pattern := range slices.Backward(p) {
		wanted, out := strings.CutPrefix(pattern, "!")
		wanted = strings.Trim(strings.TrimPrefix(wanted, "./"), "/")
		if fits(strings.Split(wanted, "/"), names) {
			return !out
		}
	}
	return false
}

func fits(patterns, names []string) bool {
	for i, p := range patterns {
		if p == "**" {
			for j := i; j <= len(names); j++ {
				if fits(patterns[i+1:], names[j:]) {
					return true
				}
			}
			return false
		}
		if i == len(names) {
			return false
		}
		if ok, err := path.Match(p, names[i]); !ok || err != nil {
			return false
		}
	}
	return true // the pattern matched a parent folder
}
