// Command refresh renews core/price/prices.json from AWS' public price list, for the regions and types that are in it:
// make prices runs it where there is a network. It imports core/price, and nothing imports it.
package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core/price"
)

const aws = "https://pricing.us-east-1.amazonaws.com"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := refresh(ctx, aws, price.Known(), "core/price/prices.json"); err != nil {
		fmt.Fprintf(os.Stderr, "prices: %v\n", err)
		os.Exit(1)
	}
}

// offers are the files of the price list that hold each kind of price.
var offers = map[string][]string{
	"AmazonEC2":       {price.Instances, price.Disks},
	"AmazonVPC":       {price.Addresses},
	"AWSDataTransfer": {price.Data},
}

// refresh writes the table with today's prices to a file. It leaves the file alone if the list lacks a price that the
// table has.
func refresh(ctx context.Context, from string, table *price.Table, file string) error {
	renewed := price.Table{Sources: map[string]price.Source{}, Regions: map[string]map[string]price.List{}}
	for region, kinds := range table.Regions {
		renewed.Regions[region] = map[string]price.List{}
		for offer, of := range offers {
			url := fmt.Sprintf("%s/offers/v1.0/aws/%s/current/%s/index.csv", from, offer, region)
			found, date, err := read(ctx, url)
			if err != nil {
				return fmt.Errorf("read %s: %w", url, err)
			}
			source := offer + " " + region
			renewed.Sources[source] = price.Source{Date: date, URL: url}
			for _, kind := range of {
				list := price.List{Source: source, Prices: found[kind]}
				if kind == price.Instances || kind == price.Disks { // only the common ones
					list.Prices = map[string]float64{}
					for name := range kinds[kind].Prices {
						list.Prices[name] = found[kind][name]
					}
				}
				for name := range kinds[kind].Prices {
					if list.Prices[name] == 0 {
						return fmt.Errorf("%s has no price of %s", url, name)
					}
				}
				renewed.Regions[region][kind] = list
			}
		}
	}
	text, err := json.MarshalIndent(renewed, "", " ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(file, append(text, '\n'), 0o644)
}

// read returns the prices by kind and name in a file of the price list, and the date of its publication.
func read(ctx context.Context, url string) (found map[string]map[string]float64, date string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if answer.StatusCode != http.StatusOK {
		return nil, "", errors.New(answer.Status)
	}
	rows := csv.NewReader(answer.Body)
	rows.FieldsPerRecord, rows.ReuseRecord = -1, true
	found = map[string]map[string]float64{}
	var columns []string
	for {
		row, err := rows.Read()
		switch {
		case errors.Is(err, io.EOF) && columns != nil && date != "":
			return found, date, nil
		case err != nil:
			return nil, "", fmt.Errorf("not a price list: %w", err)
		case row[0] == "Publication Date" && len(row) > 1:
			date, _, _ = strings.Cut(row[1], "T")
		case row[0] == "SKU":
			columns = slices.Clone(row)
		case columns != nil:
			add(found, func(column string) string {
				if i := slices.Index(columns, column); i >= 0 && i < len(row) {
					return row[i]
				}
				return ""
			})
		}
	}
}

// add adds the price of a row, if its kind is in the table.
func add(found map[string]map[string]float64, of func(column string) string) {
	usd, err := strconv.ParseFloat(of("PricePerUnit"), 64)
	if err != nil || usd == 0 || of("TermType") != "OnDemand" || of("Currency") != "USD" {
		return
	}
	kind, name, usage := "", "", of("usageType")
	switch {
	case strings.HasPrefix(of("Product Family"), "Compute Instance"):
		if of("Operating System") == "Linux" && of("Tenancy") == "Shared" && of("Pre Installed S/W") == "NA" && of("CapacityStatus") == "Used" {
			kind, name = price.Instances, of("Instance Type")
		}
	case of("Product Family") == "Storage":
		kind, name = price.Disks, of("Volume API Name")
	case strings.HasSuffix(usage, "PublicIPv4:InUseAddress"):
		kind, name = price.Addresses, "public"
	case strings.HasSuffix(usage, "DataTransfer-Out-Bytes") && of("StartingRange") == "0" && of("To Location") == "External":
		kind, name = price.Data, "out"
	}
	if name == "" {
		return
	}
	if found[kind] == nil {
		found[kind] = map[string]float64{}
	}
	found[kind][name] = usd
}
