//go:build aws

package aws_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/terraform"
	"github.com/seed-b96de936/troop/terraform/moto"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGE8aY4QW0pFq2CqxwXl2uuVeNfC5xkGZ1yFq9v6cP1X troop"

// TestRealProvider applies the module with the provider hashicorp/aws itself, once with its defaults and once per variation:
// apply, an empty second plan, the output "hosts", destroy.
func TestRealProvider(t *testing.T) {
	moto.Start(t)
	vpc := moto.AWS(t, "ec2", "create-vpc", "--cidr-block", "10.90.0.0/16", "--query", "Vpc.VpcId")
	subnet := moto.AWS(t, "ec2", "create-subnet", "--vpc-id", vpc, "--cidr-block", "10.90.1.0/24", "--availability-zone", moto.Region+"b", "--query", "Subnet.SubnetId")
	moto.AWS(t, "ec2", "modify-subnet-attribute", "--subnet-id", subnet, "--map-public-ip-on-launch")
	key := moto.AWS(t, "kms", "create-key", "--query", "KeyMetadata.Arn")
	boundary := moto.AWS(t, "iam", "create-policy", "--policy-name", "boundary", "--policy-document", string(readFile(t, "iam/boundary.json")), "--query", "Policy.Arn")
	const profile = "managed"
	moto.AWS(t, "iam", "create-instance-profile", "--instance-profile-name", profile)
	type object = map[string]any
	one := object{"router-1": object{"role": "router"}, "web-1": object{"role": "production"}}
	initial := initialised(t)
	t.Run("all", func(t *testing.T) { // ends when all variations have, before moto does
		for name, variables := range map[string]object{
			"defaults":     {},
			"existing-vpc": {"subnet_ids": []string{subnet}, "hosts": one},
			"private":      {"subnet_ids": []string{subnet}, "public_addresses": false, "connection": "ssm", "ssh_cidrs": []string{}, "instance_profile": profile, "hosts": one},
			"zones":        {"image": "ubuntu-22.04", "zones": []string{moto.Region + "a", moto.Region + "c"}, "hosts": one},
			"arm64":        {"architecture": "arm64", "instance_type": "t4g.small", "hosts": one},
			"several":      {"image": "ubuntu-24.04", "hosts": object{"router-1": object{"role": "router"}, "web-1": object{"role": "production"}, "web-2": object{"role": "production", "instance_type": "t3.medium"}, "web-3": object{"role": "production"}}},
			"bucket":       {"backups": object{"enabled": true}, "permissions_boundary": boundary},
			"image-by-id":  {"image": "ami-0aaaaaaaaaaaaaaa3", "image_user": "ubuntu", "hosts": one},
			"disks":        {"hosts": object{"router-1": object{"role": "router", "disk": "30GiB"}, "storage-1": object{"role": "storage", "data": "100GiB"}}},
			"kms":          {"kms_key_arn": key, "hosts": object{"router-1": object{"role": "router"}, "storage-1": object{"role": "storage"}}},
			"tags-ports":   {"tags": object{"team": "shop"}, "router_port": 443, "app_port": 8000, "client_cidrs": []string{"10.0.0.0/8"}, "egress_cidrs": []string{}, "hosts": object{"router-1": object{"role": "router", "tags": object{"tier": "edge"}}}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				real := copied(t, initial)
				all := object{"environment": name, "ssh_public_key": testKey, "region": moto.Region, "ssh_cidrs": []string{"203.0.113.7/32"}}
				maps.Copy(all, variables)
				writeJSON(t, filepath.Join(real.dir, "terraform.tfvars.json"), all)
				real.terraform(t, "apply", "-auto-approve", "-input=false")
				if out := real.terraform(t, "plan", "-input=false"); !bytes.Contains(out, []byte("No changes.")) {
					t.Errorf("the second plan is not empty:\n%s", out)
				}
				hosts, err := terraform.ParseHosts(hostsOf(t, real))
				if err != nil || len(hosts) == 0 {
					t.Errorf("hosts: %v, %v", hosts, err)
				}
				for _, h := range hosts {
					if name == "private" && (h.Address != h.PrivateAddress || h.SSM == nil || h.SSM.Region != moto.Region) {
						t.Errorf("%s has the address %s and the session %+v", h.Name, h.Address, h.SSM)
					}
					if image, _ := variables["image"].(string); strings.HasPrefix(image, "ubuntu") && h.User != "ubuntu" {
						t.Errorf("%s has the user %s", h.Name, h.User)
					}
				}
				if name == "disks" || name == "bucket" {
					refused(t, real)
				}
				destroy(t, real)
				if left := moto.Describe(t, "DescribeInstances", "instanceId", "tag:troop:environment", name, "instance-state-name", "pending,running,stopped"); len(left) > 0 {
					t.Errorf("left behind: %s", left)
				}
			})
		}
	})
}

// refused checks that what holds data is not destroyed.
func refused(t *testing.T, w workspace) {
	t.Helper()
	cmd := exec.Command("terraform", "plan", "-destroy", "-refresh=false", "-input=false", "-no-color")
	cmd.Dir, cmd.Env = w.dir, w.env
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("prevent_destroy")) {
		t.Errorf("what holds data would be destroyed: %v\n%s", err, out)
	}
}

// destroy destroys everything, without the module's prevent_destroy.
func destroy(t *testing.T, w workspace) {
	t.Helper()
	for _, name := range []string{"storage.tf", "backups.tf"} {
		file := filepath.Join(w.dir, name)
		if err := os.WriteFile(file, bytes.ReplaceAll(readFile(t, file), []byte("prevent_destroy = true"), []byte("prevent_destroy = false")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.terraform(t, "destroy", "-auto-approve", "-input=false", "-refresh=false")
}

// initialised is a copy of the module that Terraform has initialised with the real provider.
func initialised(t *testing.T) workspace {
	t.Helper()
	w := workspace{dir: t.TempDir(), env: os.Environ()}
	files, err := filepath.Glob("*.tf")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(w.dir, name), readFile(t, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.terraform(t, "init", "-input=false")
	return w
}

func copied(t *testing.T, w workspace) workspace {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "module")
	if out, err := exec.Command("cp", "-a", w.dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return workspace{dir: dir, env: w.env}
}

func hostsOf(t *testing.T, w workspace) []byte {
	t.Helper()
	cmd := exec.Command("terraform", "output", "-json", "hosts")
	cmd.Dir, cmd.Env = w.dir, w.env
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeJSON(t *testing.T, name string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
