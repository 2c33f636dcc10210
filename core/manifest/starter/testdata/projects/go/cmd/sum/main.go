// Command sum prints the sum of the price list on its standard input.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/basket/pricelist/v2/pricelist"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		var items []pricelist.Item
		if items, err = pricelist.Parse(string(text)); err == nil {
			fmt.Println(pricelist.Sum(items))
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
