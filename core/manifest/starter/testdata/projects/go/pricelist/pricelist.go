// Package pricelist parses and sums price lists.
package pricelist

import (
	"fmt"
	"strings"
)

// Item is one line of a list.
type Item struct {
	Name  string
	Cents int
}

// Parse reads lines of the form "NAME CENTS".
func Parse(text string) ([]Item, error) {
	var items []Item
	for line := range strings.Lines(text) {
		var i Item
		if _, err := fmt.Sscan(line, &i.Name, &i.Cents); err != nil {
			return nil, fmt.Errorf("parse %q: %w", line, err)
		}
		items = append(items, i)
	}
	return items, nil
}

// Sum adds up the prices.
func Sum(items []Item) (cents int) {
	for _, i := range items {
		cents += i.Cents
	}
	return cents
}
