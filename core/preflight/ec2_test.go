package preflight_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/preflight"
	"github.com/seed-b96de936/troop/core/preflight/fakeaws"
	"github.com/seed-b96de936/troop/core/terraform"
	modules "github.com/seed-b96de936/troop/terraform"
)

const publicKey = "ssh-ed25519 AAAAours"

// newAccount returns an account that meets the module's defaults.
func newAccount() *fakeaws.Account {
	a := fakeaws.New("eu-central-1")
	a.VPCs = []fakeaws.VPC{{ID: "vpc-1", CIDR: "172.31.0.0/16"}}
	return a
}

// look runs the steps with the variables of terraform/aws and returns the checks.
func look(t *testing.T, account *fakeaws.Account, given map[string]any, change func(*preflight.EC2)) map[string]core.Check {
	t.Helper()
	account.Start(t)
	module, err := modules.Open("aws")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"region": "eu-central-1", "ssh_cidrs": []string{"203.0.113.7/32"}}
	maps.Copy(all, given)
	e := preflight.EC2{
		Environment: "production", Processor: "amd64", PublicKey: publicKey + " troop",
		Managed: func(context.Context) ([]string, error) { return []string{"i-1"}, nil },
	}
	if e.Variables, err = terraform.Values(module, all); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&e)
	}
	return checks(t, e.Steps())
}

func checks(t *testing.T, steps []preflight.Step) map[string]core.Check {
	t.Helper()
	found := map[string]core.Check{}
	var begun []string
	err := preflight.Run(t.Context(), steps, func(name string) { begun = append(begun, name) }, func(c core.Check) {
		found[c.Name] = c
		if c.Status != core.Skipped && begun[len(begun)-1] != c.Name {
			t.Errorf("%s was not announced", c.Name)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAllIsWell(t *testing.T) {
	a := newAccount()
	a.Instances = []fakeaws.Instance{ours("i-1"), {ID: "i-9", Type: "m7i.large", State: "running", Cores: 1, Threads: 2}}
	a.Keys = []fakeaws.Key{{Name: "troop-production-1", Public: publicKey + " other", Tags: tags()}}
	found := look(t, a, nil, nil)
	for name, want := range map[string]string{
		"credentials":    "arn:aws:iam::123456789012:user/troop",
		"region":         "eu-central-1",
		"network":        "a new VPC, 10.80.0.0/16, in eu-central-1a, eu-central-1b",
		"image":          "ami-0aaaaaaaaaaaaaaa2 debian-12-amd64-20260901-1",
		"instance types": "4 × t3.small, offered in eu-central-1a, eu-central-1b",
		"processor":      "hosts and this machine are amd64",
		"quotas":         "8 vCPUs (2 of 32 in use), 1 elastic addresses (0 of 5 in use), 1 VPCs (1 of 5 in use)",
		"key":            "the hosts have it as troop-production-1",
		"orphans":        "all 1 instances are in the state",
	} {
		if got := found[name]; got.Status != core.Passed || got.Detail != want {
			t.Errorf("%s: %+v, want %q", name, got, want)
		}
	}
}

func tags() []fakeaws.Tag { return []fakeaws.Tag{{Key: "troop:environment", Value: "production"}} }

func ours(id string) fakeaws.Instance {
	return fakeaws.Instance{
		ID: id, Type: "t3.small", State: "running", Cores: 1, Threads: 2,
		Tags: append(tags(), fakeaws.Tag{Key: "troop:host", Value: "web-" + id}),
	}
}

func TestProblems(t *testing.T) {
	type account = fakeaws.Account
	hosts := func(zone, kind string) map[string]any {
		return map[string]any{"hosts": map[string]any{
			"router-1": map[string]any{"role": "router"}, "web-1": map[string]any{"role": "production", "zone": zone, "instance_type": kind},
		}}
	}
	subnets := map[string]any{"subnet_ids": []string{"subnet-1", "subnet-2"}}
	two := func(change func(*fakeaws.Subnet)) func(*account) {
		return func(a *account) {
			a.Subnets = []fakeaws.Subnet{
				{ID: "subnet-1", VPC: "vpc-1", Zone: "eu-central-1a", Free: 100, Public: true},
				{ID: "subnet-2", VPC: "vpc-1", Zone: "eu-central-1b", Free: 100, Public: true},
			}
			change(&a.Subnets[1])
		}
	}
	ubuntu := func(release, kind string) func(*account) {
		return func(a *account) {
			a.Images[1].Owner, a.Images[1].Name = "099720109477", "ubuntu/images/"+kind+"/ubuntu-"+release+"-amd64-server-20260901"
		}
	}
	for _, c := range []struct {
		what, step     string
		status         core.Status
		detail, remedy string
		given          map[string]any
		account        func(*account)
		environment    func(*preflight.EC2)
	}{
		{
			"expired token", "credentials", core.Failed, "ExpiredToken: refused by the fake", "aws sso login", nil,
			func(a *account) { a.Refuse = map[string]string{"sts:GetCallerIdentity": "ExpiredToken"} }, nil,
		},
		{
			"after that", "image", core.Skipped, "cannot be checked without credentials", "", nil,
			func(a *account) { a.Refuse = map[string]string{"sts:GetCallerIdentity": "ExpiredToken"} }, nil,
		},
		{"misspelt region", "region", core.Failed, "no region is named eu-central-9", "set region to one of eu-central-1, us-east-1", map[string]any{"region": "eu-central-9"}, nil, nil},
		{"region not enabled", "region", core.Failed, "af-south-1 is not enabled", "aws account enable-region --region-name af-south-1", map[string]any{"region": "af-south-1"}, nil, nil},
		{
			"no right to look", "image", core.Failed, "ec2:DescribeImages is not allowed", "terraform/aws/iam/troop.json", nil,
			func(a *account) { a.Refuse = map[string]string{"ec2:DescribeImages": "UnauthorizedOperation"} }, nil,
		},
		{
			"throttled", "image", core.Failed, "RequestLimitExceeded: refused by the fake", "", nil,
			func(a *account) { a.Refuse = map[string]string{"ec2:DescribeImages": "RequestLimitExceeded"} }, nil,
		},

		{"addresses of another VPC", "network", core.Failed, "vpc_cidr 172.31.0.0/20 overlaps 172.31.0.0/16 of vpc-1", "set vpc_cidr to 10.80.0.0/16", map[string]any{"vpc_cidr": "172.31.0.0/20"}, nil, nil},
		{
			"second block of another VPC", "network", core.Failed, "overlaps 10.80.128.0/17 of vpc-1", "set vpc_cidr to 10.81.0.0/16", nil,
			func(a *account) { a.VPCs[0].CIDRs = []fakeaws.CIDR{{Block: "10.80.128.0/17", State: "associated"}} }, nil,
		},
		{
			"our own VPC", "network", core.Passed, "a new VPC", "", nil,
			func(a *account) { a.VPCs = []fakeaws.VPC{{ID: "vpc-2", CIDR: "10.80.0.0/16", Tags: tags()}} }, nil,
		},
		{"zone that is not there", "network", core.Failed, "there is no zone eu-central-1z in eu-central-1", "set zones to some of eu-central-1a, eu-central-1b", map[string]any{"zones": []string{"eu-central-1z"}}, nil, nil},
		{"zones unknown", "instance types", core.Skipped, "the zones are unknown", "", map[string]any{"zones": []string{"eu-central-1z"}}, nil, nil},
		{"host in a zone without subnet", "network", core.Failed, "host web-1 is in zone eu-central-1c", "add the zone to zones", hosts("eu-central-1c", ""), nil, nil},
		{"subnets", "network", core.Passed, "2 subnets of vpc-1 in eu-central-1a, eu-central-1b", "", subnets, two(func(*fakeaws.Subnet) {}), nil},
		{"subnet that is not there", "network", core.Failed, "there is no subnet subnet-2", "aws ec2 describe-subnets", subnets, two(func(s *fakeaws.Subnet) { s.ID = "subnet-3" }), nil},
		{"subnets of two VPCs", "network", core.Failed, "several VPCs: vpc-1, vpc-2", "subnet_ids", subnets, two(func(s *fakeaws.Subnet) { s.VPC = "vpc-2" }), nil},
		{"subnet without public addresses", "network", core.Failed, "subnet-2 assigns no public addresses", "public_addresses = false", subnets, two(func(s *fakeaws.Subnet) { s.Public = false }), nil},
		{"second subnet of a zone", "network", core.Passed, "1 subnets of vpc-1 in eu-central-1a", "", subnets, two(func(s *fakeaws.Subnet) { s.Zone, s.Public = "eu-central-1a", false }), nil},
		{"full subnets", "network", core.Failed, "3 free addresses for 4 hosts", "", subnets, func(a *account) {
			two(func(s *fakeaws.Subnet) { s.Free = 1 })(a)
			a.Subnets[0].Free = 2
		}, nil},

		{"image by id", "image", core.Passed, "ami-0aaaaaaaaaaaaaaa1", "", map[string]any{"image": "ami-0aaaaaaaaaaaaaaa1"}, nil, nil},
		{"image that is not there", "image", core.Failed, "no image matches ami-0bbbbbbbbbbbbbbb1 in eu-central-1", "each region has its own", map[string]any{"image": "ami-0bbbbbbbbbbbbbbb1"}, nil, nil},
		{"image that nobody named", "image", core.Failed, "no image is named debian-11", "debian-12, ubuntu-22.04, ubuntu-24.04", map[string]any{"image": "debian-11"}, nil, nil},
		{"image of Windows", "image", core.Failed, "is Windows", "choose an image of Debian or Ubuntu", nil, func(a *account) { a.Images[1].Platform = "windows" }, nil},
		{"image for another processor", "image", core.Failed, "image ami-0aaaaaaaaaaaaaaa1 is for x86_64", "set architecture", map[string]any{"image": "ami-0aaaaaaaaaaaaaaa1", "architecture": "arm64"}, nil, nil},
		{"image of ubuntu", "image", core.Failed, "no image matches ubuntu-24.04 in eu-central-1", "", map[string]any{"image": "ubuntu-24.04"}, nil, nil},
		{"image of an older ubuntu", "image", core.Failed, "is Ubuntu 22.04, whose Redis 6.0 is too old for the router", "set image to debian-12, ubuntu-24.04", map[string]any{"image": "ubuntu-22.04"}, ubuntu("jammy-22.04", "hvm-ssd"), nil},
		{"image of an older ubuntu without a router", "image", core.Passed, "ubuntu-jammy-22.04-amd64", "", map[string]any{
			"image": "ubuntu-22.04", "hosts": map[string]any{"web-1": map[string]any{"role": "production"}},
		}, ubuntu("jammy-22.04", "hvm-ssd"), nil},
		{"image of the newer ubuntu", "image", core.Passed, "ubuntu-noble-24.04-amd64", "", map[string]any{"image": "ubuntu-24.04"}, ubuntu("noble-24.04", "hvm-ssd-gp3"), nil},
		{"image without a disk", "image", core.Failed, "no EBS root volume", "", nil, func(a *account) { a.Images[1].Root = "instance-store" }, nil},
		{"image that is not ready", "image", core.Failed, "is pending", "", nil, func(a *account) { a.Images[1].State = "pending" }, nil},

		{"misspelt type", "instance types", core.Failed, "there is no instance type t3.smalll", "describe-instance-types", hosts("", "t3.smalll"), nil, nil},
		{"type that a zone has not", "instance types", core.Failed, "eu-central-1b does not offer m7i.large", "zones that have it: eu-central-1a", hosts("", "m7i.large"), nil, nil},
		{"type that the host's zone has", "instance types", core.Passed, "1 × m7i.large, offered in eu-central-1a; 1 × t3.small, offered in eu-central-1a, eu-central-1b", "", hosts("eu-central-1a", "m7i.large"), nil, nil},
		{"type of another processor", "instance types", core.Failed, "t4g.small is not an amd64 type", "set architecture", hosts("", "t4g.small"), nil, nil},
		{"old type for storage", "instance types", core.Failed, "t2.small, of a storage host", "Nitro", map[string]any{"instance_type": "t2.small"}, nil, nil},

		{"hosts of another kind than this machine", "processor", core.Failed, "hosts are amd64 and this machine is arm64", "set architecture to arm64", nil, nil, func(e *preflight.EC2) { e.Processor = "arm64" }},

		{"too many vCPUs", "quotas", core.Failed, "8 vCPUs needed; 26 of 32 in use", "--quota-code L-1216C47A --desired-value 34", nil, func(a *account) {
			a.Instances = []fakeaws.Instance{{ID: "i-9", Type: "m7i.large", State: "running", Cores: 13, Threads: 2}, {ID: "i-8", Type: "g5.large", State: "running", Cores: 8, Threads: 2}}
		}, nil},
		{"ours are counted once", "quotas", core.Passed, "8 vCPUs (0 of 32 in use)", "", nil, func(a *account) { a.Instances = []fakeaws.Instance{ours("i-1")} }, nil},
		{"too many addresses", "quotas", core.Failed, "1 elastic addresses needed; 5 of 5 in use", "L-0263D0A3", nil, func(a *account) { a.Addresses = make([]fakeaws.Address, 5) }, nil},
		{"too many VPCs", "quotas", core.Failed, "1 VPCs needed; 5 of 5 in use", "--service-code vpc", nil, func(a *account) {
			for range 4 {
				a.VPCs = append(a.VPCs, fakeaws.VPC{CIDR: "172.30.0.0/16"})
			}
		}, nil},
		{"a region without the service of quotas", "quotas", core.Skipped, "the limit of vCPUs cannot be had from Service Quotas, which this region or account may not offer: UnknownOperationException: ", "", nil, func(a *account) {
			a.Refuse = map[string]string{"servicequotas:GetServiceQuota": "UnknownOperationException"}
		}, nil},
		{"quotas that nobody may read", "quotas", core.Skipped, "AccessDeniedException", "", nil, func(a *account) {
			a.Refuse = map[string]string{"servicequotas:GetServiceQuota": "AccessDeniedException"}
		}, nil},

		{"key of another folder", "key", core.Failed, "the key troop-production-1, not this folder's", "copy .troop/production", nil, func(a *account) {
			a.Keys = []fakeaws.Key{{Name: "troop-production-1", Public: "ssh-ed25519 AAAAtheirs", Tags: tags()}}
		}, nil},
		{"key of another environment", "key", core.Passed, "no host has it yet", "", nil, func(a *account) {
			a.Keys = []fakeaws.Key{{Name: "troop-staging-1", Public: "ssh-ed25519 AAAAtheirs"}}
		}, nil},
		{"no key yet", "key", core.Passed, "not made yet; the first plan makes it", "", nil, nil, func(e *preflight.EC2) { e.PublicKey = "" }},

		{"instances in no state", "orphans", core.Failed, "instances that are not in the state: i-2 web-i-2, i-3 web-i-3", "troop state orphans --remove --env production removes them", nil, func(a *account) {
			stopped, gone, theirs := ours("i-3"), ours("i-4"), ours("i-5")
			stopped.State, gone.State, theirs.Tags = "stopped", "terminated", nil
			a.Instances = []fakeaws.Instance{ours("i-1"), ours("i-2"), stopped, gone, theirs}
		}, nil},
		{
			"state that cannot be read", "orphans", core.Failed, "1 instances have the environment's tag, but the state cannot be read: no terraform", "", nil,
			func(a *account) { a.Instances = []fakeaws.Instance{ours("i-1")} },
			func(e *preflight.EC2) {
				e.Managed = func(context.Context) ([]string, error) { return nil, errors.New("no terraform") }
			},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			a := newAccount()
			if c.account != nil {
				c.account(a)
			}
			got := look(t, a, c.given, c.environment)[c.step]
			if got.Status != c.status || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Remedy, c.remedy) {
				t.Errorf("got  %s: %s; %s\nwant %s: %s; %s", got.Status, got.Detail, got.Remedy, c.status, c.detail, c.remedy)
			}
			if got.Status != core.Failed && got.Remedy != "" {
				t.Errorf("a remedy of nothing: %s", got.Remedy)
			}
		})
	}
}

// Hosts without an open port need two programs here.
func TestSessions(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	given := map[string]any{"connection": "ssm"}
	for _, program := range []string{"aws", "session-manager-plugin", ""} {
		got := look(t, newAccount(), given, nil)["sessions"]
		if program == "" {
			if got.Status != core.Passed {
				t.Errorf("with both: %+v", got)
			}
			break
		}
		if got.Status != core.Failed || got.Detail != program+" is not in PATH" {
			t.Errorf("without %s: %+v", program, got)
		}
		if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := look(t, newAccount(), nil, nil)["sessions"]; ok {
		t.Errorf("where nobody asks for it: %+v", got)
	}
}

func TestNoCredentials(t *testing.T) {
	found := look(t, newAccount(), nil, func(*preflight.EC2) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	})
	if got := found["credentials"]; got.Status != core.Failed || !strings.HasPrefix(got.Detail, "none found") || !strings.Contains(got.Remedy, "AWS_PROFILE") {
		t.Errorf("%+v", got)
	}
	if got := found["orphans"]; got.Status != core.Skipped {
		t.Errorf("%+v", got)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	found := look(t, newAccount(), nil, func(*preflight.EC2) { t.Setenv("AWS_ENDPOINT_URL_STS", "http://"+l.Addr().String()) })
	if got := found["credentials"]; got.Status != core.Failed || !strings.Contains(got.Detail, l.Addr().String()+": connect: connection refused") {
		t.Errorf("%+v", got)
	}
}

// TestOtherModule checks modules with few or none of our variables: steps that do not need them still run.
func TestOtherModule(t *testing.T) {
	common := map[string]core.Status{
		"credentials": core.Passed, "region": core.Passed, "image": core.Skipped, "instance types": core.Skipped, "processor": core.Skipped,
		"quotas": core.Skipped, "key": core.Passed, "orphans": core.Passed,
	}
	for hosts, network := range map[string]core.Check{
		`3`:                         {Status: core.Skipped, Detail: "the module has no variable hosts as terraform/aws has it"},
		`{"a": {"role": "router"}}`: {Status: core.Passed, Detail: "zones eu-central-1a, eu-central-1b"},
	} {
		found := look(t, newAccount(), nil, func(e *preflight.EC2) {
			e.Variables = map[string]json.RawMessage{"hosts": json.RawMessage(hosts)}
			t.Setenv("AWS_REGION", "eu-central-1")
		})
		for name, want := range common {
			if got := found[name]; got.Status != want || got.Detail == "" {
				t.Errorf("hosts %s: %s: %+v, want %s", hosts, name, got, want)
			}
		}
		if network.Name = "network"; found["network"] != network {
			t.Errorf("hosts %s: %+v, want %+v", hosts, found["network"], network)
		}
	}
}

// TestRights compares the calls to AWS with the documented IAM policy.
func TestRights(t *testing.T) {
	b, err := os.ReadFile("../../terraform/aws/iam/troop.json")
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Statement []struct {
			Effect   string
			Action   any
			Resource any
		}
	}
	if err := json.Unmarshal(b, &policy); err != nil {
		t.Fatal(err)
	}
	allowed := []string{"sts:GetCallerIdentity"} // cannot be denied
	for _, s := range policy.Statement {
		list, ok := s.Action.([]any)
		if s.Effect == "Allow" && s.Resource == "*" && ok {
			for _, action := range list {
				allowed = append(allowed, action.(string))
			}
		}
	}
	a := newAccount()
	look(t, a, nil, nil)
	look(t, a, map[string]any{"subnet_ids": []string{"subnet-1"}}, nil)
	asked := a.Asked()
	if len(asked) < 12 {
		t.Fatalf("asked only %v", asked)
	}
	for _, action := range asked {
		if !slices.Contains(allowed, action) {
			t.Errorf("%s is asked for, and iam/troop.json does not allow it of everything", action)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	reason := errors.New("the operator had enough")
	steps := []preflight.Step{{Name: "slow", Look: func(context.Context) (string, error) {
		stop(reason)
		return "", ctx.Err()
	}}}
	err := preflight.Run(ctx, steps, func(string) {}, func(c core.Check) { t.Errorf("%+v", c) })
	if !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}
