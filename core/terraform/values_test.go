package terraform

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var fleet = fstest.MapFS{"main.tf": file(`
terraform {
  required_providers {
    aws   = { source = "hashicorp/aws", version = "~> 5.32", configuration_aliases = [aws.other] }
    local = "~> 2.0"
  }
}
variable "region" { type = string }
variable "replicas" {
  type    = number
  default = 2
}
variable "hosts" {
  type = map(object({ role = string, disk = optional(string, "20GiB") }))
  default = { web-1 = { role = "production" } }
}
variable "free" { default = ["a"] }
`)}

func TestValues(t *testing.T) {
	for name, c := range map[string]struct {
		given map[string]any
		want  map[string]string // "": none
	}{
		"defaults": {nil, map[string]string{
			"region": "", "replicas": "2", "hosts": `{"web-1":{"disk":"20GiB","role":"production"}}`, "free": `["a"]`,
		}},
		"given": {map[string]any{"region": "eu-central-1", "replicas": "3", "hosts": map[string]any{"r": map[string]any{"role": "router", "disk": "9GiB"}}}, map[string]string{
			"region": `"eu-central-1"`, "replicas": "3", "hosts": `{"r":{"disk":"9GiB","role":"router"}}`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			values, err := Values(fleet, c.given)
			if err != nil {
				t.Fatal(err)
			}
			for variable, want := range c.want {
				if got := string(values[variable]); got != want {
					t.Errorf("%s is %s, want %s", variable, got, want)
				}
			}
		})
	}
	_, err := Values(fleet, map[string]any{"hosts": map[string]any{"web-1": map[string]any{"disk": "9GiB"}}})
	if err == nil || !strings.Contains(err.Error(), "variable hosts: ") || !strings.Contains(err.Error(), "role") {
		t.Errorf("a host without a role: %v", err)
	}
}

func TestRequired(t *testing.T) {
	got, err := Required(fleet)
	if want := []string{"hashicorp/aws", "hashicorp/local"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestIDs(t *testing.T) {
	w, err := Open(t.Context(), Options{Dir: t.TempDir(), Module: fleet})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.IDs(t.Context(), "aws_instance")
	if err != nil || len(got) > 0 {
		t.Errorf("before the first apply: %v, %v", got, err)
	}
	state := `{"version": 4, "terraform_version": "1.5.0", "serial": 1, "lineage": "a", "outputs": {}, "resources": [
  {"mode": "managed", "type": "aws_instance", "name": "host", "provider": "provider[\"troop.local/hashicorp/aws\"]", "instances": [
    {"index_key": "web-1", "schema_version": 1, "attributes": {"id": "i-1"}}, {"index_key": "web-2", "schema_version": 1, "attributes": {"id": "i-2"}}]},
  {"mode": "managed", "type": "aws_vpc", "name": "this", "provider": "provider[\"troop.local/hashicorp/aws\"]", "instances": [
    {"schema_version": 1, "attributes": {"id": "vpc-1"}}]}]}`
	if err := os.WriteFile(filepath.Join(w.Dir, "terraform.tfstate"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = w.IDs(t.Context(), "aws_instance")
	if want := []string{"i-1", "i-2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := os.Stat(filepath.Join(w.Dir, ".terraform")); err == nil {
		t.Error("a state beside the module needs no init")
	}
}
