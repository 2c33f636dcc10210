// Package price holds list prices of EC2 from a table in the tree, with the date and the source of each part. core/terraform
// imports it to say what a plan costs. What the table does not hold has no price; none is guessed.
package price

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"
)

//go:embed prices.json
var file []byte

// Table is a list of prices in US dollars, without tax, discounts and commitments.
type Table struct {
	Sources map[string]Source          `json:"sources"`
	Regions map[string]map[string]List `json:"regions"` // by region and kind
}

// The kinds of prices.
const (
	Instances = "instances" // an hour of Linux on demand, by instance type
	Disks     = "disks"     // a GiB for a month, by volume type
	Addresses = "addresses" // an hour of an IPv4 address: "public"
	Data      = "data"      // a GB to the internet, after the first 100 of a month: "out"
)

// Source is where prices come from.
type Source struct {
	Date string `json:"date"` // YYYY-MM-DD
	URL  string `json:"url"`
	Note string `json:"note,omitempty"`
}

// List holds the prices of one kind in one region.
type List struct {
	Source string             `json:"source"`
	Prices map[string]float64 `json:"prices"`
}

// Known returns the table in the tree.
var Known = sync.OnceValue(func() *Table {
	t := new(Table)
	if err := json.Unmarshal(file, t); err != nil {
		panic(fmt.Sprintf("prices.json: %v", err)) // cannot happen: a test reads it
	}
	return t
})

// Of returns a price and the date of its source.
func (t *Table) Of(region, kind, name string) (usd float64, date string, ok bool) {
	list := t.Regions[region][kind]
	usd, ok = list.Prices[name]
	return usd, t.Sources[list.Source].Date, ok
}
