package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go/logging"

	"github.com/seed-b96de936/troop/core"
)

// open returns the account in the environment's region. Steps check more, and slower.
func (e EC2) open(ctx context.Context) (*account, error) {
	a := &account{EC2: e}
	var err error
	if a.config, err = config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{})); err != nil {
		return nil, err
	}
	if a.region = cmp.Or(a.text("region"), a.config.Region); a.region == "" {
		return nil, errors.New("no region is set; set the module's variable region, or AWS_REGION")
	}
	a.config.Region = a.region
	a.ec2 = ec2.NewFromConfig(a.config)
	return a, nil
}

// Tagged lists what carries the environment's tag on EC2 now, and what hangs on that. An instance's root disk is part of
// the instance. One call finds resources of every kind; one more per kind says what they are.
func (e EC2) Tagged(ctx context.Context) ([]core.Tagged, error) {
	a, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	tags, err := all(func(token *string) ([]types.TagDescription, *string, error) {
		page, err := a.ec2.DescribeTags(ctx, &ec2.DescribeTagsInput{NextToken: token, Filters: append(filter("key", tag), filter("value", e.Environment)...)})
		if err != nil {
			return nil, nil, err
		}
		return page.Tags, page.NextToken, nil
	})
	if err != nil {
		return nil, refused(err)
	}
	var found []core.Tagged
	ids := map[string][]string{}
	for _, t := range tags {
		kind, _, _ := strings.Cut(aws.ToString(t.ResourceId), "-")
		if kinds[kind] == nil {
			found = append(found, core.Tagged{Type: string(t.ResourceType), ID: aws.ToString(t.ResourceId), Tags: map[string]string{tag: e.Environment}})
			continue
		}
		ids[kind] = append(ids[kind], aws.ToString(t.ResourceId))
	}
	for _, kind := range slices.Sorted(maps.Keys(ids)) {
		some, err := kinds[kind](ctx, a.ec2, ids[kind])
		if err != nil {
			return nil, fmt.Errorf("describe %s-…: %w", kind, refused(err))
		}
		found = append(found, some...)
	}
	backups, err := a.backups(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for what is for backups: %w", refused(err))
	}
	found = append(found, backups...)
	slices.SortFunc(found, core.CompareTagged)
	return found, nil
}

// kinds says what the resources with some IDs are, by the beginning of the IDs. A tag may be older than its resource: a
// terminated instance has its tags for an hour.
var kinds = map[string]func(context.Context, *ec2.Client, []string) ([]core.Tagged, error){
	"i": instancesOf, "vol": volumesOf, "eipalloc": addressesOf, "key": keysOf, "rtb": routeTablesOf,
	"vpc": func(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
		out, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: filter("vpc-id", ids...)})
		if err != nil {
			return nil, err
		}
		for _, x := range out.Vpcs {
			found = append(found, tagged("aws_vpc", x.VpcId, x.Tags))
		}
		return found, nil
	},
	"subnet": func(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
		out, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: filter("subnet-id", ids...)})
		if err != nil {
			return nil, err
		}
		for _, x := range out.Subnets {
			found = append(found, tagged("aws_subnet", x.SubnetId, x.Tags))
		}
		return found, nil
	},
	"igw": func(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
		out, err := c.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{Filters: filter("internet-gateway-id", ids...)})
		if err != nil {
			return nil, err
		}
		for _, x := range out.InternetGateways {
			found = append(found, tagged("aws_internet_gateway", x.InternetGatewayId, x.Tags))
		}
		return found, nil
	},
	"sg": func(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
		out, err := c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: filter("group-id", ids...)})
		if err != nil {
			return nil, err
		}
		for _, x := range out.SecurityGroups {
			found = append(found, tagged("aws_security_group", x.GroupId, x.Tags))
		}
		return found, nil
	},
}

// tagged is a resource that a state knows, and Terraform takes in, by its ID.
func tagged(kind string, id *string, tags []types.Tag) core.Tagged {
	t := core.Tagged{Type: kind, ID: aws.ToString(id), Import: aws.ToString(id), Values: map[string]string{"id": aws.ToString(id)}, Tags: map[string]string{}}
	for _, x := range tags {
		t.Tags[aws.ToString(x.Key)] = aws.ToString(x.Value)
	}
	return t
}

func instancesOf(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
	alive, err := (&account{ec2: c}).instances(ctx, append(filter("instance-id", ids...), filter("instance-state-name", "pending", "running", "stopping", "stopped")...))
	if err != nil {
		return nil, err
	}
	for _, x := range alive {
		found = append(found, tagged("aws_instance", x.InstanceId, x.Tags))
	}
	return found, nil
}

func volumesOf(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
	out, err := c.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: filter("volume-id", ids...)})
	if err != nil {
		return nil, err
	}
	parts, err := partsOf(ctx, c, out.Volumes)
	if err != nil {
		return nil, err
	}
	for _, x := range out.Volumes {
		volume := aws.ToString(x.VolumeId)
		if x.State == types.VolumeStateDeleting || x.State == types.VolumeStateDeleted || parts[volume] {
			continue
		}
		found = append(found, tagged("aws_ebs_volume", x.VolumeId, x.Tags))
		for _, at := range x.Attachments {
			device, instance := aws.ToString(at.Device), aws.ToString(at.InstanceId)
			found = append(found, core.Tagged{
				Type: "aws_volume_attachment", Import: device + ":" + volume + ":" + instance,
				Values: map[string]string{"device_name": device, "volume_id": volume, "instance_id": instance},
			})
		}
	}
	return found, nil
}

// partsOf returns the volumes that go with their instances.
func partsOf(ctx context.Context, c *ec2.Client, volumes []types.Volume) (map[string]bool, error) {
	var instances []string
	for _, x := range volumes {
		for _, at := range x.Attachments {
			instances = append(instances, aws.ToString(at.InstanceId))
		}
	}
	parts := map[string]bool{}
	if len(instances) == 0 {
		return parts, nil
	}
	found, err := (&account{ec2: c}).instances(ctx, filter("instance-id", instances...))
	for _, i := range found {
		for _, d := range i.BlockDeviceMappings {
			if d.Ebs != nil && aws.ToBool(d.Ebs.DeleteOnTermination) {
				parts[aws.ToString(d.Ebs.VolumeId)] = true
			}
		}
	}
	return parts, err
}

func addressesOf(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
	out, err := c.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{Filters: filter("allocation-id", ids...)})
	if err != nil {
		return nil, err
	}
	for _, x := range out.Addresses {
		found = append(found, tagged("aws_eip", x.AllocationId, x.Tags))
		if id := aws.ToString(x.AssociationId); id != "" {
			found = append(found, core.Tagged{
				Type: "aws_eip_association", ID: id, Import: id,
				Values: map[string]string{"allocation_id": aws.ToString(x.AllocationId), "instance_id": aws.ToString(x.InstanceId)},
			})
		}
	}
	return found, nil
}

func keysOf(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
	out, err := c.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: filter("key-pair-id", ids...)})
	if err != nil {
		return nil, err
	}
	for _, x := range out.KeyPairs {
		key := tagged("aws_key_pair", x.KeyPairId, x.Tags)
		key.Import, key.Values = aws.ToString(x.KeyName), map[string]string{"key_pair_id": key.ID}
		found = append(found, key)
	}
	return found, nil
}

func routeTablesOf(ctx context.Context, c *ec2.Client, ids []string) (found []core.Tagged, err error) {
	out, err := c.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: filter("route-table-id", ids...)})
	if err != nil {
		return nil, err
	}
	for _, x := range out.RouteTables {
		table := aws.ToString(x.RouteTableId)
		found = append(found, tagged("aws_route_table", x.RouteTableId, x.Tags))
		for _, r := range x.Routes {
			to := aws.ToString(r.DestinationCidrBlock)
			if to == "" || r.Origin == types.RouteOriginCreateRouteTable || aws.ToString(r.GatewayId) == "local" {
				continue // comes with the table
			}
			found = append(found, core.Tagged{
				Type: "aws_route", Import: table + "_" + to, Values: map[string]string{"route_table_id": table, "destination_cidr_block": to},
			})
		}
		for _, as := range x.Associations {
			if subnet := aws.ToString(as.SubnetId); subnet != "" {
				found = append(found, core.Tagged{
					Type: "aws_route_table_association", ID: aws.ToString(as.RouteTableAssociationId), Import: subnet + "/" + table,
					Values: map[string]string{"subnet_id": subnet, "route_table_id": table},
				})
			}
		}
	}
	return found, nil
}
