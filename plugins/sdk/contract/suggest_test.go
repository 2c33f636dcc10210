package contract_test

import (
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"build", "test", "deploy", "maintenance"}
	for given, want := range map[string]string{
		"biuld": "build", "Deploy": "deploy", "tset": "test", "depoly": "deploy", "maintenancee": "maintenance", "maintnance": "maintenance",
		"": "", "x": "", "analysis": "", "tess": "test", "buildings": "", strings.Repeat("build", 20): "",
	} {
		if got := contract.Nearest(given, names); got != want {
			t.Errorf("%q: suggested %q, want %q", given, got, want)
		}
	}
	if got := contract.Nearest("a", []string{"b"}); got != "" {
		t.Errorf("a name that has nothing in common: %q", got)
	}
}
