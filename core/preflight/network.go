package preflight

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// network checks the given subnets, or the addresses of a new VPC, and the hosts' zones.
func (a *account) network(ctx context.Context) (string, error) {
	if a.hosts == nil {
		return "", noHosts
	}
	var err error
	a.vpcs, err = all(func(token *string) ([]types.Vpc, *string, error) {
		page, err := a.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return page.Vpcs, page.NextToken, nil
	})
	if err != nil {
		return "", refused(err)
	}
	var ids []string
	if a.variable("subnet_ids", &ids); len(ids) > 0 {
		return a.given(ctx, ids)
	}
	if err := a.chooseZones(ctx); err != nil {
		return "", err
	}
	if err := a.freeNetwork(); err != nil {
		return "", err
	}
	if cidr := a.text("vpc_cidr"); cidr != "" {
		return fmt.Sprintf("a new VPC, %s, in %s", cidr, strings.Join(a.zones, ", ")), nil
	}
	return "zones " + strings.Join(a.zones, ", "), nil
}

// freeNetwork checks that no other VPC overlaps the addresses of ours; the two could never be peered.
func (a *account) freeNetwork() error {
	wanted, err := netip.ParsePrefix(a.text("vpc_cidr"))
	if err != nil {
		return nil //nolint:nilerr // the module's own validation reports it
	}
	taken := map[netip.Prefix]string{}
	for _, vpc := range a.vpcs {
		if tagOf(vpc.Tags, tag) == a.Environment {
			continue
		}
		cidrs := []string{aws.ToString(vpc.CidrBlock)}
		for _, more := range vpc.CidrBlockAssociationSet {
			cidrs = append(cidrs, aws.ToString(more.CidrBlock))
		}
		for _, cidr := range cidrs {
			if prefix, err := netip.ParsePrefix(cidr); err == nil {
				taken[prefix] = strings.TrimSpace(aws.ToString(vpc.VpcId) + " " + tagOf(vpc.Tags, "Name"))
			}
		}
	}
	for prefix, vpc := range taken {
		if prefix.Overlaps(wanted) {
			return &Problem{
				fmt.Sprintf("vpc_cidr %s overlaps %s of %s; the two could never be peered", wanted, prefix, vpc),
				"set vpc_cidr to " + cmp.Or(freeOf(taken), "a range that no VPC uses"),
			}
		}
	}
	return nil
}

// freeOf returns a /16 that overlaps none of the networks.
func freeOf(taken map[netip.Prefix]string) string {
	for second := range 256 {
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte((80 + second) % 256), 0, 0}), 16)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(taken)), candidate.Overlaps) {
			return candidate.String()
		}
	}
	return ""
}

func (a *account) chooseZones(ctx context.Context) error {
	out, err := a.ec2.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{
		Filters: []types.Filter{{Name: aws.String("opt-in-status"), Values: []string{"opt-in-not-required"}}},
	})
	if err != nil {
		return refused(err)
	}
	var all []string
	for _, z := range out.AvailabilityZones {
		if z.State == types.AvailabilityZoneStateAvailable {
			all = append(all, aws.ToString(z.ZoneName))
		}
	}
	slices.Sort(all)
	var zones []string
	if a.variable("zones", &zones); len(zones) == 0 {
		zones = all[:min(2, len(all))]
	}
	for _, zone := range zones {
		if !slices.Contains(all, zone) {
			return &Problem{"there is no zone " + zone + " in " + a.region, "set zones to some of " + strings.Join(all, ", ")}
		}
	}
	a.zones = zones
	return a.placed()
}

// placed finds hosts in zones without a subnet.
func (a *account) placed() error {
	for _, name := range slices.Sorted(maps.Keys(a.hosts)) {
		if zone := a.hosts[name].Zone; zone != "" && !slices.Contains(a.zones, zone) {
			return &Problem{
				fmt.Sprintf("host %s is in zone %s; there are only subnets in %s", name, zone, strings.Join(a.zones, ", ")),
				"use one of these zones, or add the zone to zones or a subnet to subnet_ids",
			}
		}
	}
	return nil
}

func (a *account) given(ctx context.Context, ids []string) (string, error) {
	subnets, err := all(func(token *string) ([]types.Subnet, *string, error) {
		page, err := a.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{NextToken: token, Filters: filter("subnet-id", ids...)})
		if err != nil {
			return nil, nil, err
		}
		return page.Subnets, page.NextToken, nil
	})
	if err != nil {
		return "", refused(err)
	}
	vpcs := map[string]bool{}
	for _, s := range subnets {
		vpcs[aws.ToString(s.VpcId)] = true
		ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == aws.ToString(s.SubnetId) })
	}
	// Of several subnets in one zone, the module uses the first by ID.
	zone := func(s types.Subnet) string { return aws.ToString(s.AvailabilityZone) }
	slices.SortFunc(subnets, func(x, y types.Subnet) int {
		return cmp.Or(cmp.Compare(zone(x), zone(y)), cmp.Compare(aws.ToString(x.SubnetId), aws.ToString(y.SubnetId)))
	})
	subnets = slices.CompactFunc(subnets, func(x, y types.Subnet) bool { return zone(x) == zone(y) })
	free := 0
	for _, s := range subnets {
		a.zones = append(a.zones, zone(s))
		free += int(aws.ToInt32(s.AvailableIpAddressCount))
	}
	const list = "aws ec2 describe-subnets lists the subnets; then set subnet_ids"
	switch private := slices.IndexFunc(subnets, func(s types.Subnet) bool { return !aws.ToBool(s.MapPublicIpOnLaunch) }); {
	case len(ids) > 0:
		return "", &Problem{fmt.Sprintf("there is no subnet %s in %s", strings.Join(ids, ", "), a.region), list}
	case len(vpcs) > 1:
		return "", &Problem{"the subnets belong to several VPCs: " + strings.Join(slices.Sorted(maps.Keys(vpcs)), ", "), list}
	case free < len(a.hosts):
		return "", &Problem{fmt.Sprintf("the subnets have %d free addresses for %d hosts", free, len(a.hosts)), list}
	case a.public() && private >= 0:
		return "", &Problem{
			fmt.Sprintf("subnet %s assigns no public addresses", aws.ToString(subnets[private].SubnetId)),
			"set public_addresses = false and run troop where it can reach private addresses, or let the subnet assign public ones",
		}
	}
	if err := a.placed(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d subnets of %s in %s", len(subnets), slices.Collect(maps.Keys(vpcs))[0], strings.Join(a.zones, ", ")), nil
}

// public reports whether hosts have public addresses.
func (a *account) public() bool {
	public := true
	a.variable("public_addresses", &public)
	return public
}
