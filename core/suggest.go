package core

import (
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Nearest returns the one of names that was probably meant by given, or "".
func Nearest(given string, names []string) string { return contract.Nearest(given, names) }

// Suggest is the remedy for a misspelt name: the nearest candidate, or all of them.
func Suggest(name string, candidates []string) string {
	switch best := Nearest(name, candidates); {
	case best != "":
		return "did you mean " + best + "?"
	case len(candidates) == 0:
		return "there is none"
	}
	return "there is " + strings.Join(candidates, ", ")
}
