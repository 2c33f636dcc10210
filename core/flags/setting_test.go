package flags

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

func TestSetting(t *testing.T) {
	number := Flag{Name: "x", State: Enabled}.give(float64(3))
	number.Metadata = map[string]any{Owner: "shop"}
	for name, c := range map[string]struct {
		flag    Flag
		setting Setting
		value   any    // of the default variant
		wrong   string // part of the error
	}{
		"a new boolean":           {Flag{Name: "x"}, Setting{Value: "true"}, true, ""},
		"a version is a string":   {Flag{Name: "x"}, Setting{Value: "1.10"}, "1.10", ""},
		"a type that is kept":     {number, Setting{Value: "4"}, float64(4), ""},
		"another spelling":        {number, Setting{Value: "1.10"}, nil, "1.10 reads as the number 1.1; --type TYPE says which one you mean"},
		"another type, asked for": {number, Setting{Value: "1.10", Type: String}, "1.10", ""},
		"a share":                 {Flag{Name: "x"}, Setting{Value: "true", Percent: new(5.0)}, false, ""},
		"a share of a string":     {Flag{Name: "x"}, Setting{Value: "a", Percent: new(5.0)}, nil, "say what the others get"},
		"a rule":                  {Flag{Name: "x"}, Setting{Value: "a", When: `{"var": "staff"}`, Else: new("b")}, "b", ""},
		"a rule that is no JSON":  {Flag{Name: "x"}, Setting{Value: "a", When: "staff", Else: new("b")}, nil, "want a rule in JsonLogic"},
		"others without a rule":   {Flag{Name: "x"}, Setting{Value: "a", Else: new("b")}, nil, "--else needs --percent or --when"},
	} {
		t.Run(name, func(t *testing.T) {
			x := c.flag
			err := c.setting.Apply(&x)
			if c.wrong != "" {
				if !errors.As(err, new(*core.UsageError)) || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("%v, want a usage error with %q", err, c.wrong)
				}
				return
			}
			if err != nil || x.Variants[x.Default] != c.value {
				t.Errorf("%+v, %v; want the value %v", x, err, c.value)
			}
		})
	}
	x := number
	if err := (Setting{Value: "4", Owner: new(""), Release: new("r1")}).Apply(&x); err != nil || x.Text(Release) != "r1" || x.Metadata[Owner] != nil {
		t.Errorf("metadata %v, %v", x.Metadata, err)
	}
	if number.Text(Owner) != "shop" {
		t.Error("the flag before the change has changed, too")
	}
}
