package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// TestSchema asks the provider as Terraform does; the framework then checks what it finds.
func TestSchema(t *testing.T) {
	server, err := providerserver.NewProtocol6WithError(func() provider.Provider { return labProvider{} }())()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range resp.Diagnostics {
		t.Errorf("%s: %s", d.Summary, d.Detail)
	}
	for name, schema := range resp.ResourceSchemas {
		for _, a := range schema.Block.Attributes {
			if a.Description == "" {
				t.Errorf("%s.%s has no description", name, a.Name)
			}
		}
	}
	if len(resp.ResourceSchemas) != 2 {
		t.Errorf("resources: %v", resp.ResourceSchemas)
	}
}

func TestAssign(t *testing.T) {
	tests := map[string]struct {
		names []string
		given map[string]string
		want  map[string]string
	}{
		"the first hosts": {
			names: []string{"web-1", "canary-1"},
			want:  map[string]string{"canary-1": "10.1.2.10", "web-1": "10.1.2.11"},
		},
		"one more keeps the others": {
			names: []string{"web-1", "app-1", "canary-1"},
			given: map[string]string{"canary-1": "10.1.2.10", "web-1": "10.1.2.11"},
			want:  map[string]string{"app-1": "10.1.2.12", "canary-1": "10.1.2.10", "web-1": "10.1.2.11"},
		},
		"who leaves keeps the address until gone": {
			names: []string{"app-1", "web-1"},
			given: map[string]string{"canary-1": "10.1.2.10", "web-1": "10.1.2.11"},
			want:  map[string]string{"app-1": "10.1.2.12", "web-1": "10.1.2.11"},
		},
		"a gap is filled": {
			names: []string{"app-1", "web-1"},
			given: map[string]string{"web-1": "10.1.2.11"},
			want:  map[string]string{"app-1": "10.1.2.10", "web-1": "10.1.2.11"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := assign("10.1.2.0/24", tt.names, tt.given)
			if err != nil || !maps.Equal(got, tt.want) {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
	var many []string
	for _, a := range "abcdefghijklmnop" {
		for _, b := range "abcdefghijklmnop" {
			many = append(many, string(a)+string(b))
		}
	}
	if got, err := assign("10.1.2.0/24", many[:245], nil); err != nil || got[many[244]] != "10.1.2.254" {
		t.Errorf("245 hosts: %v, %v", got, err)
	}
	if _, err := assign("10.1.2.0/24", many[:246], nil); err == nil {
		t.Error("246 hosts fit")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"sweep"}, {"sweep", "a", "b"}, {"list", "x"}} {
		var stdout, stderr strings.Builder
		if status := run(args, nil, &stdout, &stderr); status != 2 || stderr.String() != usage || stdout.Len() != 0 {
			t.Errorf("%v: status %d, %s%s", args, status, stdout.String(), stderr.String())
		}
	}
	var stdout, stderr strings.Builder
	if status := run([]string{"sweep", "../x"}, nil, &stdout, &stderr); status != 1 || !strings.Contains(stderr.String(), "want one to eight") {
		t.Errorf("status %d, %s", status, stderr.String())
	}
}

// TestReplaceable holds that a host with other properties is another host.
func TestReplaceable(t *testing.T) {
	var resp resource.SchemaResponse
	hostResource{}.Schema(t.Context(), resource.SchemaRequest{}, &resp)
	for _, name := range []string{"lab", "name", "role", "address", "memory", "disk", "ssh_public_key", "cpus"} {
		var why string
		switch a := resp.Schema.Attributes[name].(type) {
		case schema.StringAttribute:
			for _, m := range a.PlanModifiers {
				why += m.Description(t.Context())
			}
		case schema.Float64Attribute:
			for _, m := range a.PlanModifiers {
				why += m.Description(t.Context())
			}
		}
		if !strings.Contains(why, "destroy and recreate") {
			t.Errorf("a host of another %s is not another host: %q", name, why)
		}
	}
}
