package core

import (
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Nearest returns the name that given is probably a misspelling of, or "".
func Nearest(given string, names []string) string { return contract.Nearest(given, names) }

// Suggest returns a remedy for a misspelt name: the nearest candidate, or a list of all.
func Suggest(name string, candidates []string) string {
	switch best := Nearest(name, candidates); {
	case best != "":
		return "did you mean " + best + "?"
	case len(candidates) == 0:
		return "there is none"
	}
	return "there is " + strings.Join(candidates, ", ")
}
