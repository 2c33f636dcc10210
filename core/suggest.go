package core

import "strings"

// Suggest is the remedy for a misspelt name: the nearest candidate, or all of them.
func Suggest(name string, candidates []string) string {
	best, distance := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if d := edits(name, c); d < distance {
			best, distance = c, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(candidates) == 0:
		return "there is none"
	default:
		return "there is " + strings.Join(candidates, ", ")
	}
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
