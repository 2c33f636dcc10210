package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/seed-b96de936/troop/core"
)

// removal is how resources of a type are removed, in the order in which one may go before the next.
type removal struct {
	kind   string
	remove func(ctx context.Context, a *account, r core.Tagged) error
}

var removals = []removal{
	{"aws_instance", terminate},
	{"aws_eip", release},
	{"aws_ebs_volume", func(ctx context.Context, a *account, r core.Tagged) error {
		_, err := a.ec2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &r.ID})
		return err
	}},
	{"aws_route_table", deleteRouteTable},
	{"aws_internet_gateway", deleteGateway},
	{"aws_subnet", func(ctx context.Context, a *account, r core.Tagged) error {
		_, err := a.ec2.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &r.ID})
		return err
	}},
	{"aws_security_group", func(ctx context.Context, a *account, r core.Tagged) error {
		_, err := a.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &r.ID})
		return err
	}},
	{"aws_vpc", func(ctx context.Context, a *account, r core.Tagged) error {
		_, err := a.ec2.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &r.ID})
		return err
	}},
	{"aws_key_pair", func(ctx context.Context, a *account, r core.Tagged) error {
		_, err := a.ec2.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: &r.Import})
		return err
	}},
	{"aws_iam_instance_profile", deleteProfile},
	{"aws_iam_role", deleteRole},
	{"aws_s3_bucket", deleteBucket},
}

// removeTimeout is how long a resource may be in use by one that is just being removed.
const removeTimeout = 5 * time.Minute

// Remove removes resources for good, one after the other; done is called after each. What is in use by something else fails,
// and the others are tried all the same. A second call goes on with what is left.
func (e EC2) Remove(ctx context.Context, list []core.Tagged, done func(core.Tagged)) error {
	a, err := e.open(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range list {
		if !slices.ContainsFunc(removals, func(x removal) bool { return x.kind == r.Type }) {
			errs = append(errs, fmt.Errorf("%s: troop cannot remove it; remove it by hand", r))
		}
	}
	errs = append(errs, a.closeGroups(ctx, list))
	for _, x := range removals {
		for _, r := range list {
			if r.Type != x.kind {
				continue
			}
			if err := patiently(ctx, func() error { return x.remove(ctx, a, r) }); err != nil && !gone(err) {
				errs = append(errs, fmt.Errorf("%s: %w", r, refused(err)))
				continue
			}
			done(r)
		}
	}
	return errors.Join(errs...)
}

// patiently repeats f while its resource is in use.
func patiently(ctx context.Context, f func() error) error {
	for deadline := time.Now().Add(removeTimeout); ; {
		err := f()
		var answer smithy.APIError
		if err == nil || !errors.As(err, &answer) || !slices.Contains([]string{"DependencyViolation", "VolumeInUse"}, answer.ErrorCode()) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Second):
		}
	}
}

// terminate waits until the instance is gone: its groups, its subnet and its disks are in use before. An address of the state
// that it has is free at once for the next instance.
func terminate(ctx context.Context, a *account, r core.Tagged) error {
	out, err := a.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{Filters: filter("instance-id", r.ID)})
	if err != nil {
		return err
	}
	if err := disassociate(ctx, a.ec2, out.Addresses); err != nil {
		return err
	}
	if _, err := a.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{r.ID}}); err != nil {
		return err
	}
	for deadline := time.Now().Add(removeTimeout); ; {
		left, err := a.instances(ctx, append(filter("instance-id", r.ID), filter("instance-state-name", "pending", "running", "shutting-down", "stopping", "stopped")...))
		switch {
		case err != nil:
			return err
		case len(left) == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("it is still %s after %s", left[0].State.Name, removeTimeout)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Second):
		}
	}
}

func release(ctx context.Context, a *account, r core.Tagged) error {
	out, err := a.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{AllocationIds: []string{r.ID}})
	if err != nil {
		return err
	}
	if err := disassociate(ctx, a.ec2, out.Addresses); err != nil {
		return err
	}
	_, err = a.ec2.ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: &r.ID})
	return err
}

func disassociate(ctx context.Context, c *ec2.Client, addresses []types.Address) error {
	for _, x := range addresses {
		if aws.ToString(x.AssociationId) != "" {
			if _, err := c.DisassociateAddress(ctx, &ec2.DisassociateAddressInput{AssociationId: x.AssociationId}); err != nil {
				return err
			}
		}
	}
	return nil
}

func deleteRouteTable(ctx context.Context, a *account, r core.Tagged) error {
	out, err := a.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{RouteTableIds: []string{r.ID}})
	if err != nil {
		return err
	}
	for _, x := range out.RouteTables {
		for _, as := range x.Associations {
			if _, err := a.ec2.DisassociateRouteTable(ctx, &ec2.DisassociateRouteTableInput{AssociationId: as.RouteTableAssociationId}); err != nil {
				return err
			}
		}
	}
	_, err = a.ec2.DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: &r.ID})
	return err
}

func deleteGateway(ctx context.Context, a *account, r core.Tagged) error {
	out, err := a.ec2.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{InternetGatewayIds: []string{r.ID}})
	if err != nil {
		return err
	}
	for _, x := range out.InternetGateways {
		for _, at := range x.Attachments {
			if _, err := a.ec2.DetachInternetGateway(ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: &r.ID, VpcId: at.VpcId}); err != nil {
				return err
			}
		}
	}
	_, err = a.ec2.DeleteInternetGateway(ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: &r.ID})
	return err
}

// closeGroups takes all rules away from the security groups of a list, since groups that name each other keep each other.
func (a *account) closeGroups(ctx context.Context, list []core.Tagged) error {
	var ids []string
	for _, r := range list {
		if r.Type == "aws_security_group" {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	for tries := 3; ; tries-- {
		err := a.closeOnce(ctx, ids)
		if err == nil || gone(err) && tries == 0 {
			return nil // what is left keeps its group, which is told then
		}
		if !gone(err) { // else the rules have changed meanwhile: a killed apply may still end
			return refused(err)
		}
	}
}

// closeOnce takes the rules away that the groups have now.
func (a *account) closeOnce(ctx context.Context, ids []string) error {
	out, err := a.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: filter("group-id", ids...)})
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range out.SecurityGroups {
		if len(g.IpPermissions) > 0 {
			_, err := a.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: named(g.IpPermissions)})
			errs = append(errs, err)
		}
		if len(g.IpPermissionsEgress) > 0 {
			_, err := a.ec2.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: g.GroupId, IpPermissions: named(g.IpPermissionsEgress)})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// gone reports whether AWS does not know what was to be removed: somebody else has removed it.
func gone(err error) bool {
	answer, ok := errors.AsType[smithy.APIError](err)
	return ok && (strings.HasSuffix(answer.ErrorCode(), ".NotFound") || slices.Contains([]string{"NoSuchEntity", "NoSuchBucket", "NoSuchTagSet"}, answer.ErrorCode()) ||
		strings.HasSuffix(answer.ErrorCode(), "NotFoundException"))
}

// named are rules as a request gives them: groups by their IDs only.
func named(rules []types.IpPermission) []types.IpPermission {
	for _, r := range rules {
		for i, g := range r.UserIdGroupPairs {
			r.UserIdGroupPairs[i] = types.UserIdGroupPair{GroupId: g.GroupId, UserId: g.UserId}
		}
	}
	return rules
}
