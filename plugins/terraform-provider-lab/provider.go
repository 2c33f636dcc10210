package main

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

// labProvider has no settings; all arguments are in its resources.
type labProvider struct{}

func (labProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "lab"
}

func (labProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{Description: "Hosts on this machine, made with systemd-nspawn."}
}

func (labProvider) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {
}

func (labProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return rosterResource{} },
		func() resource.Resource { return hostResource{} },
	}
}

func (labProvider) DataSources(context.Context) []func() datasource.DataSource { return nil }
