package main

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/seed-b96de936/troop/plugins/terraform-provider-lab/internal/lab"
)

// stringCheck turns a function into a validator of known strings.
type stringCheck struct {
	want  string
	check func(string) error
}

func (c stringCheck) Description(context.Context) string         { return c.want }
func (c stringCheck) MarkdownDescription(context.Context) string { return c.want }

func (c stringCheck) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := c.check(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid value", err.Error())
	}
}

var (
	isLab     = []validator.String{stringCheck{"name of a lab", func(s string) error { return lab.ID(s).Validate() }}}
	isHost    = []validator.String{stringCheck{"name of a host", lab.ValidateHost}}
	isSize    = []validator.String{stringCheck{"size", func(s string) error { _, err := lab.ParseSize(s); return err }}}
	isSubnet  = []validator.String{stringCheck{"IPv4 subnet", func(s string) error { _, err := lab.ParseSubnet(s); return err }}}
	isAddress = []validator.String{stringCheck{"IPv4 address", func(s string) error { _, err := lab.ParseAddress(s); return err }}}
)

// cpusCheck rejects shares that are too small for the kernel to enforce.
type cpusCheck struct{}

func (cpusCheck) Description(context.Context) string         { return "cores" }
func (cpusCheck) MarkdownDescription(context.Context) string { return "cores" }

func (cpusCheck) ValidateFloat64(_ context.Context, req validator.Float64Request, resp *validator.Float64Response) {
	if v := req.ConfigValue; !v.IsNull() && !v.IsUnknown() && v.ValueFloat64() < 0.05 {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid value", "want at least 0.05 cores")
	}
}

var isCPUs = []validator.Float64{cpusCheck{}}
