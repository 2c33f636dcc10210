package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/price"
)

const head = `"FormatVersion","v1.0"
"Disclaimer","This pricing list is for informational purposes only."
"Publication Date","2026-11-20T19:55:14Z"
"Version","20261120195514"
"OfferCode","X"
"SKU","TermType","StartingRange","PricePerUnit","Currency","Product Family","Instance Type","Tenancy","Operating System","Pre Installed S/W","CapacityStatus","Volume API Name","usageType","To Location"
`

// The server is a fake of AWS' price list with a few of its rows and columns, as its documentation describes them.
func TestRefresh(t *testing.T) {
	files := map[string]string{
		"/offers/v1.0/aws/AmazonEC2/current/eu-central-1/index.csv": head +
			`"A","OnDemand","0","0.0300000000","USD","Compute Instance","t3.small","Shared","Linux","NA","Used","","EUC1-BoxUsage:t3.small",""
"B","OnDemand","0","0.0500000000","USD","Compute Instance","t3.small","Shared","Windows","NA","Used","","EUC1-BoxUsage:t3.small",""
"C","OnDemand","0","0.0000000000","USD","Compute Instance","t3.small","Shared","Linux","NA","AllocatedCapacityReservation","","x",""
"D","Reserved","0","0.0100000000","USD","Compute Instance","t3.small","Shared","Linux","NA","Used","","x",""
"E","OnDemand","0","9.0000000000","USD","Compute Instance","x9.rare","Shared","Linux","NA","Used","","x",""
"F","OnDemand","0","0.0952000000","USD","Storage","","","","","","gp3","EUC1-EBS:VolumeUsage.gp3",""
`,
		"/offers/v1.0/aws/AmazonVPC/current/eu-central-1/index.csv":       head + `"G","OnDemand","0","0.0050000000","USD","VpcPublicIPv4Address","","","","","","","EUC1-PublicIPv4:InUseAddress",""` + "\n",
		"/offers/v1.0/aws/AWSDataTransfer/current/eu-central-1/index.csv": head + `"H","OnDemand","0","0.0900000000","USD","Data Transfer","","","","","","","EUC1-DataTransfer-Out-Bytes","External"` + "\n" + `"I","OnDemand","10240","0.0850000000","USD","Data Transfer","","","","","","","EUC1-DataTransfer-Out-Bytes","External"` + "\n",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	defer server.Close()

	table := &price.Table{Regions: map[string]map[string]price.List{"eu-central-1": {
		price.Instances: {Prices: map[string]float64{"t3.small": 1}},
		price.Disks:     {Prices: map[string]float64{"gp3": 1}},
		price.Addresses: {Prices: map[string]float64{"public": 1}},
	}}}
	file := filepath.Join(t.TempDir(), "prices.json")
	if err := refresh(t.Context(), server.URL, table, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got price.Table
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]price.List{
		price.Instances: {Source: "AmazonEC2 eu-central-1", Prices: map[string]float64{"t3.small": 0.03}},
		price.Disks:     {Source: "AmazonEC2 eu-central-1", Prices: map[string]float64{"gp3": 0.0952}},
		price.Addresses: {Source: "AmazonVPC eu-central-1", Prices: map[string]float64{"public": 0.005}},
		price.Data:      {Source: "AWSDataTransfer eu-central-1", Prices: map[string]float64{"out": 0.09}},
	}
	if !reflect.DeepEqual(got.Regions["eu-central-1"], want) || got.Sources["AmazonEC2 eu-central-1"].Date != "2026-11-20" {
		t.Errorf("got %s", text)
	}

	table.Regions["eu-central-1"][price.Instances].Prices["t3.gone"] = 1
	if err := refresh(t.Context(), server.URL, table, file); err == nil || !strings.Contains(err.Error(), "has no price of t3.gone") {
		t.Errorf("got %v", err)
	}
	table.Regions["xx-none-1"] = nil
	delete(table.Regions, "eu-central-1")
	if err := refresh(t.Context(), server.URL, table, file); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
	if again, _ := os.ReadFile(file); string(again) != string(text) {
		t.Error("a list that lacks something overwrote the table")
	}
}
