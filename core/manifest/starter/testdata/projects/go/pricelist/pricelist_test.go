package pricelist

import "testing"

func TestSum(t *testing.T) {
	items, err := Parse("tea 250\nmilk 99\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := Sum(items); got != 349 {
		t.Errorf("got %d", got)
	}
}

func TestParseRefuses(t *testing.T) {
	if _, err := Parse("tea\n"); err == nil {
		t.Error("no error")
	}
}
