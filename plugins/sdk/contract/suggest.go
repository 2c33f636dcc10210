package contract

import "strings"

// maxSuggest is the maximum length of a name, in bytes, to search a suggestion for.
const maxSuggest = 64

// Nearest returns the name that given is probably a misspelling of, or "".
func Nearest(given string, names []string) string {
	if len(given) > maxSuggest {
		return ""
	}
	best, limit := "", 1+min(len(given), 12)/4
	for _, name := range names {
		if strings.EqualFold(given, name) {
			return name
		}
		d := distance(strings.ToLower(given), strings.ToLower(name))
		if d <= limit && d < len(name) {
			best, limit = name, d-1
		}
	}
	return best
}

// distance is the Damerau-Levenshtein distance (optimal string alignment), in bytes.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
