package aws_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

var policies = []struct{ file, is string }{
	{"troop.json", "For every environment. `REGION`, `ACCOUNT` and `ENVIRONMENT` stand for yours."},
	{"existing-network.json", "Also, with `subnet_ids`: one line for each subnet, and their VPC."},
	{"backups.json", "Also, with `backups`."},
	{"session.json", "Also, with `connection = \"ssm\"`; with an `instance_profile`, `iam:PassRole` on its role, too."},
	{"boundary.json", "What the storage hosts' role can have at most, with `backups`."},
}

// actions are the API calls of the provider to create and delete a resource, besides reads. A resource that is never
// deleted has no delete call.
var actions = map[string][]string{
	"terraform_data":                        {},
	"aws_ami":                               {"ec2:DescribeImages"},
	"aws_availability_zones":                {"ec2:DescribeAvailabilityZones"},
	"aws_ebs_volume":                        {"ec2:CreateVolume", "ec2:CreateTags", "ec2:DescribeVolumes", "ec2:ModifyVolume"},
	"aws_ec2_instance_type":                 {"ec2:DescribeInstanceTypes"},
	"aws_eip":                               {"ec2:AllocateAddress", "ec2:ReleaseAddress", "ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute"},
	"aws_eip_association":                   {"ec2:AssociateAddress", "ec2:DisassociateAddress"},
	"aws_iam_instance_profile":              {"iam:CreateInstanceProfile", "iam:DeleteInstanceProfile", "iam:GetInstanceProfile", "iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:TagInstanceProfile", "iam:PassRole"},
	"aws_iam_role":                          {"iam:CreateRole", "iam:DeleteRole", "iam:GetRole", "iam:TagRole", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies", "iam:ListInstanceProfilesForRole"},
	"aws_iam_role_policy":                   {"iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:GetRolePolicy"},
	"aws_instance":                          {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:StopInstances", "ec2:StartInstances", "ec2:ModifyInstanceAttribute", "ec2:DescribeInstances", "ec2:DescribeInstanceAttribute", "ec2:DescribeInstanceTypes", "ec2:DescribeInstanceCreditSpecifications", "ec2:DescribeTags", "ec2:DescribeVolumes", "ec2:AssociateIamInstanceProfile"},
	"aws_internet_gateway":                  {"ec2:CreateInternetGateway", "ec2:DeleteInternetGateway", "ec2:AttachInternetGateway", "ec2:DetachInternetGateway", "ec2:DescribeInternetGateways"},
	"aws_key_pair":                          {"ec2:ImportKeyPair", "ec2:DeleteKeyPair", "ec2:DescribeKeyPairs"},
	"aws_route":                             {"ec2:CreateRoute", "ec2:DeleteRoute", "ec2:DescribeRouteTables"},
	"aws_route_table":                       {"ec2:CreateRouteTable", "ec2:DeleteRouteTable", "ec2:DescribeRouteTables"},
	"aws_route_table_association":           {"ec2:AssociateRouteTable", "ec2:DisassociateRouteTable"},
	"aws_s3_bucket":                         {"s3:CreateBucket", "s3:ListBucket", "s3:PutBucketTagging", "s3:GetBucketTagging", "s3:GetBucketAcl"},
	"aws_s3_bucket_lifecycle_configuration": {"s3:PutLifecycleConfiguration", "s3:GetLifecycleConfiguration"},
	"aws_s3_bucket_policy":                  {"s3:PutBucketPolicy", "s3:GetBucketPolicy"},
	"aws_s3_bucket_public_access_block":     {"s3:PutBucketPublicAccessBlock", "s3:GetBucketPublicAccessBlock"},
	"aws_s3_bucket_versioning":              {"s3:PutBucketVersioning", "s3:GetBucketVersioning"},
	"aws_security_group":                    {"ec2:CreateSecurityGroup", "ec2:DeleteSecurityGroup", "ec2:DescribeSecurityGroups", "ec2:DescribeNetworkInterfaces", "ec2:AuthorizeSecurityGroupIngress", "ec2:AuthorizeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupEgress"},
	"aws_subnet":                            {"ec2:CreateSubnet", "ec2:DeleteSubnet", "ec2:ModifySubnetAttribute", "ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces"},
	"aws_volume_attachment":                 {"ec2:AttachVolume", "ec2:DetachVolume", "ec2:StopInstances"},
	"aws_vpc":                               {"ec2:CreateVpc", "ec2:DeleteVpc", "ec2:ModifyVpcAttribute", "ec2:DescribeVpcs", "ec2:DescribeVpcAttribute", "ec2:DescribeNetworkAcls"},
	"aws_s3_bucket_server_side_encryption_configuration": {"s3:PutEncryptionConfiguration", "s3:GetEncryptionConfiguration"},
}

type policy struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Action, Resource texts
		Condition        map[string]map[string]string
	}
}

// texts decodes one string or a list of strings.
type texts []string

func (x *texts) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*x = texts{""}
		return json.Unmarshal(b, &(*x)[0])
	}
	return json.Unmarshal(b, (*[]string)(x))
}

func TestPolicies(t *testing.T) {
	var allowed []string
	for _, p := range policies {
		src, err := os.ReadFile(filepath.Join("iam", p.file))
		if err != nil {
			t.Fatal(err)
		}
		var small bytes.Buffer
		if err := json.Compact(&small, src); err != nil {
			t.Fatalf("%s: %v", p.file, err)
		}
		// The size limit of a managed policy, with the longest names.
		full := strings.NewReplacer("REGION", "ap-southeast-1", "ACCOUNT", "123456789012", "ENVIRONMENT", strings.Repeat("e", 31)).Replace(small.String())
		if len(full) > 6144 {
			t.Errorf("%s has %d characters, and IAM takes 6144", p.file, len(full))
		}
		var parsed policy
		dec := json.NewDecoder(bytes.NewReader(src))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&parsed); err != nil {
			t.Fatalf("%s: %v", p.file, err)
		}
		for _, s := range parsed.Statement {
			if s.Effect != "Allow" {
				continue
			}
			if !slices.IsSorted(s.Action) {
				t.Errorf("%s, %s: actions are not sorted", p.file, s.Sid)
			}
			for _, action := range s.Action {
				if strings.Contains(action, "*") {
					t.Errorf("%s, %s: %s", p.file, s.Sid, action)
				}
				reads := strings.HasPrefix(action, "ec2:Describe") || strings.HasPrefix(action, "iam:List") || action == "s3:ListAllMyBuckets" || action == "servicequotas:GetServiceQuota"
				if slices.Contains(s.Resource, "*") && !reads {
					t.Errorf("%s, %s: %s of everything", p.file, s.Sid, action)
				}
				allowed = append(allowed, action)
			}
		}
	}
	for _, kind := range resources(t) {
		needs, ok := actions[kind]
		if !ok {
			t.Errorf("nobody has said what %s needs: say it here, and in the policies", kind)
		}
		for _, action := range needs {
			if !slices.Contains(allowed, action) {
				t.Errorf("%s needs %s, which no policy allows", kind, action)
			}
		}
	}
}

// resources returns the types of the module's resources and data sources.
func resources(t *testing.T) []string {
	t.Helper()
	var kinds []string
	for _, block := range blocks(t) {
		if block.Type == "resource" || block.Type == "data" {
			kinds = append(kinds, block.Labels[0])
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// blocks returns the top-level blocks of the module's files, sorted by file.
func blocks(t *testing.T) []*hclsyntax.Block {
	t.Helper()
	files, err := filepath.Glob("*.tf")
	if err != nil {
		t.Fatal(err)
	}
	var all []*hclsyntax.Block
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		all = append(all, file.Body.(*hclsyntax.Body).Blocks...)
	}
	return all
}
