package main

import (
	"context"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/float64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/seed-b96de936/troop/plugins/terraform-provider-lab/internal/lab"
)

// hostResource is one host. Every change replaces it.
type hostResource struct{}

type hostModel struct {
	Lab     types.String  `tfsdk:"lab"`
	Name    types.String  `tfsdk:"name"`
	Role    types.String  `tfsdk:"role"`
	Address types.String  `tfsdk:"address"`
	CPUs    types.Float64 `tfsdk:"cpus"`
	Memory  types.String  `tfsdk:"memory"`
	Disk    types.String  `tfsdk:"disk"`
	Key     types.String  `tfsdk:"ssh_public_key"`

	HostKey   types.String `tfsdk:"host_key"`
	Boot      types.String `tfsdk:"boot"`
	PID       types.Int64  `tfsdk:"pid"`
	Start     types.String `tfsdk:"start"`
	InitPID   types.Int64  `tfsdk:"init_pid"`
	InitStart types.String `tfsdk:"init_start"`
}

func (hostResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "lab_host"
}

func (hostResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	fixed := func(doc string, validators []validator.String) schema.StringAttribute {
		return schema.StringAttribute{
			Description: doc, Required: true, Validators: validators,
			PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
		}
	}
	computed := func(doc string) schema.StringAttribute {
		return schema.StringAttribute{
			Description: doc, Computed: true,
			PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		}
	}
	number := func(doc string) schema.Int64Attribute {
		return schema.Int64Attribute{
			Description: doc, Computed: true,
			PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
		}
	}
	resp.Schema = schema.Schema{
		Description: "A systemd-nspawn machine with its own network, disk, host key and limits. It exists when its sshd answers.",
		Attributes: map[string]schema.Attribute{
			"lab":            fixed("Name of the lab, from the lab_roster.", isLab),
			"name":           fixed("Name of the host.", isHost),
			"role":           fixed("Role of the host. A change replaces the host, since services of the old role would remain.", nil),
			"address":        fixed("IPv4 address. Its /24 is the lab's subnet, whose .1 is this machine.", isAddress),
			"memory":         fixed("Memory limit, such as 512MiB.", isSize),
			"disk":           fixed("Size of the disk, such as 2GiB. It is sparse: unused space takes no room.", isSize),
			"ssh_public_key": fixed("SSH public key for root, in authorized_keys format.", nil),
			"cpus": schema.Float64Attribute{
				Description: "CPU limit in cores.", Required: true, Validators: isCPUs,
				PlanModifiers: []planmodifier.Float64{float64planmodifier.RequiresReplace()},
			},
			"host_key":   computed("The host's public key, in authorized_keys format."),
			"boot":       computed("ID of this machine's boot in which the host was started."),
			"pid":        number("Process ID of systemd-nspawn."),
			"start":      computed("Start time of systemd-nspawn, in clock ticks since boot."),
			"init_pid":   number("Process ID of the host's PID 1 on this machine."),
			"init_start": computed("Start time of the host's PID 1, in clock ticks since boot."),
		},
	}
}

func (hostResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m hostModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	spec, err := m.spec()
	if err != nil {
		resp.Diagnostics.AddError("Invalid host", err.Error())
		return
	}
	machine, err := lab.Create(ctx, spec)
	if err != nil {
		resp.Diagnostics.AddError("Could not make host "+spec.Name, err.Error())
		return
	}
	m.set(machine)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// Read removes a dead host from the state, so that the next plan recreates it.
func (hostResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m hostModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	machine, err := m.machine()
	if err == nil {
		machine = lab.Reboot(lab.ID(m.Lab.ValueString()), m.Name.ValueString(), machine)
	}
	if err != nil || !machine.Alive() {
		resp.State.RemoveResource(ctx)
		return
	}
	m.set(machine)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// Update never has anything to change: every change replaces the host.
func (hostResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m hostModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (hostResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m hostModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := lab.Delete(ctx, lab.ID(m.Lab.ValueString()), m.Name.ValueString()); err != nil {
		resp.Diagnostics.AddError("Could not remove host "+m.Name.ValueString(), err.Error())
	}
}

func (m *hostModel) spec() (lab.Spec, error) {
	memory, err := lab.ParseSize(m.Memory.ValueString())
	if err != nil {
		return lab.Spec{}, err
	}
	disk, err := lab.ParseSize(m.Disk.ValueString())
	if err != nil {
		return lab.Spec{}, err
	}
	address, err := lab.ParseAddress(m.Address.ValueString())
	if err != nil {
		return lab.Spec{}, err
	}
	return lab.Spec{
		Lab: lab.ID(m.Lab.ValueString()), Name: m.Name.ValueString(), Address: address,
		CPUs: m.CPUs.ValueFloat64(), Memory: memory, Disk: disk, AuthorizedKey: m.Key.ValueString(),
	}, nil
}

func (m *hostModel) machine() (lab.Machine, error) {
	start, err := strconv.ParseUint(m.Start.ValueString(), 10, 64)
	if err != nil {
		return lab.Machine{}, err
	}
	initStart, err := strconv.ParseUint(m.InitStart.ValueString(), 10, 64)
	if err != nil {
		return lab.Machine{}, err
	}
	return lab.Machine{
		HostKey:    m.HostKey.ValueString(),
		Boot:       m.Boot.ValueString(),
		Supervisor: lab.Process{PID: int(m.PID.ValueInt64()), Start: start},
		Init:       lab.Process{PID: int(m.InitPID.ValueInt64()), Start: initStart},
	}, nil
}

func (m *hostModel) set(machine lab.Machine) {
	m.HostKey = types.StringValue(machine.HostKey)
	m.Boot = types.StringValue(machine.Boot)
	m.PID = types.Int64Value(int64(machine.Supervisor.PID))
	m.Start = types.StringValue(strconv.FormatUint(machine.Supervisor.Start, 10))
	m.InitPID = types.Int64Value(int64(machine.Init.PID))
	m.InitStart = types.StringValue(strconv.FormatUint(machine.Init.Start, 10))
}
