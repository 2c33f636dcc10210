package main

import (
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	b := sdktest.Binary{
		Valid:   `sleep = "1h"`,
		Invalid: map[string]string{"log = []\ninvalid = \"log\"": "pipeline.hcl:1,1-9: Invalid dummy stage; told to be invalid"},
		Cancel:  true,
		Pass:    `log = ["a", "b"]`,
		Flood:   `flood = 20000`,
		Panic:   `panic = "boom"`,
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage, b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "dummy"), b) })
}
