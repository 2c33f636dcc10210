package main

import (
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	sdktest.Conformance(t, sdktest.Build(t, ".", "dummy"), sdktest.Binary{
		Valid:   `sleep = "1h"`,
		Invalid: map[string]string{"log = []\ninvalid = \"log\"": "pipeline.hcl:1,1-9: Invalid dummy stage; told to be invalid"},
		Cancel:  true,
	})
}
