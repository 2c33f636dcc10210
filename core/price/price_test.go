package price

import (
	"regexp"
	"testing"
)

// Every price has a source with a date; the types that terraform/aws offers by default have a price in every region.
func TestTable(t *testing.T) {
	table := Known()
	if len(table.Regions) < 10 {
		t.Errorf("%d regions", len(table.Regions))
	}
	date := regexp.MustCompile(`^20\d\d-\d\d-\d\d$`)
	for region, kinds := range table.Regions {
		for kind, list := range kinds {
			if s := table.Sources[list.Source]; !date.MatchString(s.Date) || s.URL == "" {
				t.Errorf("%s, %s: source %q has no date or address: %+v", region, kind, list.Source, s)
			}
			for name, usd := range list.Prices {
				if usd <= 0 {
					t.Errorf("%s, %s: %s costs %g", region, kind, name, usd)
				}
			}
		}
		for kind, names := range map[string][]string{Instances: {"t3.small", "t4g.small"}, Disks: {"gp3"}, Addresses: {"public"}} {
			for _, name := range names {
				if _, _, ok := table.Of(region, kind, name); !ok {
					t.Errorf("%s has no price of %s", region, name)
				}
			}
		}
	}
	if _, _, ok := table.Of("us-east-1", Instances, "t9.none"); ok {
		t.Error("a type that does not exist has a price")
	}
	if usd, at, ok := table.Of("us-east-1", Instances, "t3.small"); usd != 0.0208 || at != "2026-01-19" || !ok {
		t.Errorf("t3.small: %g of %s, %v", usd, at, ok)
	}
}
