package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/seed-b96de936/troop/plugins/terraform-provider-lab/internal/lab"
)

// rosterResource lists a lab's wanted hosts. Its purpose is to remove unwanted ones: a killed Terraform leaves hosts that
// are in no state, which no lab_host would ever remove. Reading the roster adds them, so that the next plan shows them and
// the next apply removes them.
//
// It also assigns the addresses, so that a host keeps its address when others are added or removed.
type rosterResource struct{}

var _ resource.ResourceWithModifyPlan = rosterResource{}

type rosterModel struct {
	Lab       types.String `tfsdk:"lab"`
	Subnet    types.String `tfsdk:"subnet"`
	Hosts     types.Set    `tfsdk:"hosts"`
	Addresses types.Map    `tfsdk:"addresses"`
}

func (rosterResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "lab_roster"
}

func (rosterResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		Description: "The wanted hosts of a lab; any other host of the lab is removed. Every lab_host depends on it.",
		Attributes: map[string]schema.Attribute{
			"lab": schema.StringAttribute{
				Description:   "Name of the lab, one to eight letters and digits.",
				Required:      true,
				Validators:    isLab,
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"subnet": schema.StringAttribute{
				Description:   "IPv4 subnet of the lab, a /24. Its .1 is this machine, its hosts start at .10.",
				Required:      true,
				Validators:    isSubnet,
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"hosts": schema.SetAttribute{
				Description: "Names of the hosts.",
				Required:    true,
				ElementType: types.StringType,
			},
			"addresses": schema.MapAttribute{
				Description: "Address of each host, by name.",
				Computed:    true,
				ElementType: types.StringType,
			},
		},
	}
}

// ModifyPlan assigns the addresses, so that a plan can show them.
func (rosterResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return // it will be destroyed
	}
	var state, plan rosterModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	if resp.Diagnostics.HasError() || plan.Subnet.IsUnknown() || plan.Hosts.IsUnknown() {
		return
	}
	var names []string
	given := map[string]string{}
	resp.Diagnostics.Append(plan.Hosts.ElementsAs(ctx, &names, false)...)
	if state.Subnet.Equal(plan.Subnet) {
		resp.Diagnostics.Append(state.Addresses.ElementsAs(ctx, &given, false)...)
	}
	addresses, err := assign(plan.Subnet.ValueString(), names, given)
	if err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("hosts"), "Too many hosts", err.Error())
		return
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("addresses"), addresses)...)
}

// assign gives every name an address: its present one, or else the lowest free one. The address of a removed host is not
// reused in the same plan, since it is removed while others are added.
func assign(subnet string, names []string, given map[string]string) (map[string]string, error) {
	prefix, err := lab.ParseSubnet(subnet)
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for _, address := range given {
		taken[address] = true
	}
	addresses := map[string]string{}
	next := prefix.Addr().As4()
	next[3] = 10
	for _, name := range slices.Sorted(slices.Values(names)) {
		if address, ok := given[name]; ok {
			addresses[name] = address
			continue
		}
		for taken[netip.AddrFrom4(next).String()] {
			next[3]++
		}
		if next[3] == 255 {
			return nil, fmt.Errorf("subnet %s has no address left for %s", prefix, name)
		}
		addresses[name] = netip.AddrFrom4(next).String()
		next[3]++
	}
	return addresses, nil
}

// Create builds the base tree of all hosts, before several hosts need it at once.
func (r rosterResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m rosterModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := lab.EnsureBase(ctx, nil); err != nil {
		resp.Diagnostics.AddError("Could not build the lab's base tree", err.Error())
		return
	}
	resp.Diagnostics.Append(r.sweep(ctx, m)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (rosterResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m rosterModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := lab.Hosts(lab.ID(m.Lab.ValueString()))
	if err != nil {
		resp.Diagnostics.AddError("Could not list the lab's hosts", err.Error())
		return
	}
	var known []string
	resp.Diagnostics.Append(m.Hosts.ElementsAs(ctx, &known, false)...)
	all, diags := types.SetValueFrom(ctx, types.StringType, slices.Compact(slices.Sorted(slices.Values(append(known, found...)))))
	resp.Diagnostics.Append(diags...)
	m.Hosts = all
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (r rosterResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m rosterModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if resp.Diagnostics.Append(r.sweep(ctx, m)...); !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	}
}

// Delete runs after that of every lab_host: the remaining hosts are in no state.
func (rosterResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m rosterModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := lab.Sweep(ctx, lab.ID(m.Lab.ValueString())); err != nil {
		resp.Diagnostics.AddError("Could not remove the lab", err.Error())
	}
}

func (rosterResource) sweep(ctx context.Context, m rosterModel) diag.Diagnostics {
	var diags diag.Diagnostics
	var keep []string
	if diags.Append(m.Hosts.ElementsAs(ctx, &keep, false)...); diags.HasError() {
		return diags
	}
	if _, err := lab.Sweep(ctx, lab.ID(m.Lab.ValueString()), keep...); err != nil {
		diags.AddError("Could not remove an unwanted host of the lab", err.Error())
	}
	return diags
}
