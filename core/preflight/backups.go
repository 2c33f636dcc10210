package preflight

import (
	"cmp"
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/seed-b96de936/troop/core"
)

// backups lists what terraform/aws makes for backups and the environment's tag is on: bucket, role and instance profile. EC2
// does not know them, and neither S3 nor IAM can be asked for a tag, only for names, which begin with the environment's.
func (a *account) backups(ctx context.Context) ([]core.Tagged, error) {
	var conf struct {
		Enabled bool
		Bucket  string
	}
	if !a.variable("backups", &conf) || !conf.Enabled {
		return nil, nil
	}
	begin := "troop-" + a.Environment + "-"
	found, err := a.buckets(ctx, cmp.Or(conf.Bucket, begin))
	if err != nil {
		return nil, err
	}
	client := iam.NewFromConfig(a.config)
	roles, err := all(func(token *string) ([]iamtypes.Role, *string, error) {
		page, err := client.ListRoles(ctx, &iam.ListRolesInput{Marker: token})
		if err != nil {
			return nil, nil, err
		}
		return page.Roles, page.Marker, nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range roles {
		if !strings.HasPrefix(aws.ToString(r.RoleName), begin) {
			continue
		}
		out, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: r.RoleName})
		if err != nil {
			if gone(err) {
				continue
			}
			return nil, err
		}
		found = append(found, granted("aws_iam_role", r.RoleName, out.Role.Tags))
	}
	profiles, err := all(func(token *string) ([]iamtypes.InstanceProfile, *string, error) {
		page, err := client.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{Marker: token})
		if err != nil {
			return nil, nil, err
		}
		return page.InstanceProfiles, page.Marker, nil
	})
	if err != nil {
		return nil, err
	}
	for _, p := range profiles {
		if !strings.HasPrefix(aws.ToString(p.InstanceProfileName), begin) {
			continue
		}
		out, err := client.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: p.InstanceProfileName})
		if err != nil {
			if gone(err) {
				continue
			}
			return nil, err
		}
		found = append(found, granted("aws_iam_instance_profile", p.InstanceProfileName, out.InstanceProfile.Tags))
	}
	return a.ours(found), nil
}

// buckets lists buckets by the beginning of their names. A bucket counts as one that holds data.
func (a *account) buckets(ctx context.Context, begin string) (found []core.Tagged, err error) {
	client := s3.NewFromConfig(a.config)
	list, err := client.ListBuckets(ctx, &s3.ListBucketsInput{Prefix: &begin})
	if err != nil {
		return nil, err
	}
	for _, b := range list.Buckets {
		name := aws.ToString(b.Name)
		if !strings.HasPrefix(name, begin) {
			continue
		}
		out, err := client.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: b.Name})
		if err != nil {
			if gone(err) {
				continue
			}
			return nil, err
		}
		bucket := core.Tagged{Type: "aws_s3_bucket", ID: name, Import: name, Values: map[string]string{"bucket": name}, Tags: map[string]string{"troop:data": "backups"}}
		for _, t := range out.TagSet {
			bucket.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		found = append(found, bucket)
	}
	return found, nil
}

func granted(kind string, name *string, tags []iamtypes.Tag) core.Tagged {
	t := core.Tagged{Type: kind, ID: aws.ToString(name), Import: aws.ToString(name), Values: map[string]string{"name": aws.ToString(name)}, Tags: map[string]string{}}
	for _, x := range tags {
		t.Tags[aws.ToString(x.Key)] = aws.ToString(x.Value)
	}
	return t
}

// ours are those with the environment's tag.
func (a *account) ours(found []core.Tagged) (ours []core.Tagged) {
	for _, f := range found {
		if f.Tags[tag] == a.Environment {
			ours = append(ours, f)
		}
	}
	return ours
}

func deleteBucket(ctx context.Context, a *account, r core.Tagged) error {
	_, err := s3.NewFromConfig(a.config).DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &r.ID})
	return err
}

func deleteProfile(ctx context.Context, a *account, r core.Tagged) error {
	client := iam.NewFromConfig(a.config)
	out, err := client.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &r.ID})
	if err != nil {
		return err
	}
	for _, role := range out.InstanceProfile.Roles {
		if _, err := client.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &r.ID, RoleName: role.RoleName}); err != nil {
			return err
		}
	}
	_, err = client.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: &r.ID})
	return err
}

func deleteRole(ctx context.Context, a *account, r core.Tagged) error {
	client := iam.NewFromConfig(a.config)
	out, err := client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &r.ID})
	if err != nil {
		return err
	}
	for _, name := range out.PolicyNames {
		if _, err := client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &r.ID, PolicyName: &name}); err != nil {
			return err
		}
	}
	_, err = client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &r.ID})
	return err
}
