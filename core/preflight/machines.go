package preflight

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// processors maps Go's and the module's names of architectures to AWS's.
var processors = map[string]string{"amd64": "x86_64", "arm64": "arm64"}

func (a *account) image(ctx context.Context) (string, error) {
	var images map[string]struct{ Owner, Name string }
	a.variable("images", &images)
	wanted, architecture := a.text("image"), a.text("architecture")
	if wanted == "" {
		return "", Skip("the module has no variable image")
	}
	in := &ec2.DescribeImagesInput{Filters: filter("image-id", wanted), IncludeDeprecated: aws.Bool(true)}
	if known, ok := images[wanted]; ok {
		in = &ec2.DescribeImagesInput{Owners: []string{known.Owner}, Filters: filter("name", strings.ReplaceAll(known.Name, "ARCH", architecture))}
	} else if !strings.HasPrefix(wanted, "ami-") {
		return "", &Problem{
			"no image is named " + wanted,
			fmt.Sprintf("set image to one of %s, or to an id such as ami-0123456789abcdef0", strings.Join(slices.Sorted(maps.Keys(images)), ", ")),
		}
	}
	out, err := a.ec2.DescribeImages(ctx, in)
	if err != nil {
		return "", refused(err)
	}
	if len(out.Images) == 0 {
		return "", &Problem{fmt.Sprintf("no image matches %s in %s", wanted, a.region), "choose another image; each region has its own"}
	}
	newest := slices.MaxFunc(out.Images, func(x, y types.Image) int {
		return cmp.Compare(aws.ToString(x.CreationDate), aws.ToString(y.CreationDate))
	})
	id := aws.ToString(newest.ImageId)
	switch want := processors[architecture]; {
	case want != "" && string(newest.Architecture) != want:
		return "", &Problem{fmt.Sprintf("image %s is for %s", id, newest.Architecture), "choose another image, or set architecture"}
	case strings.EqualFold(string(newest.Platform), string(types.PlatformValuesWindows)): // EC2 and the SDK write it differently
		return "", &Problem{"image " + id + " is Windows", "choose an image of Debian or Ubuntu"}
	case newest.RootDeviceType != types.DeviceTypeEbs:
		return "", &Problem{"image " + id + " has no EBS root volume, which hosts need to survive a stop", "choose another image"}
	case strings.Contains(aws.ToString(newest.Name), "ubuntu-jammy-22.04") && slices.ContainsFunc(slices.Collect(maps.Values(a.hosts)), func(h host) bool { return h.Role == "router" }):
		return "", &Problem{"image " + id + " is Ubuntu 22.04, whose Redis 6.0 is too old for the router", "set image to debian-12, ubuntu-24.04, or another with Redis 7.0 or newer"}
	case newest.State != types.ImageStateAvailable:
		return "", &Problem{fmt.Sprintf("image %s is %s", id, newest.State), "wait until it is available, or choose another image"}
	}
	return strings.TrimSpace(id + " " + aws.ToString(newest.Name)), nil
}

// typeOf returns the instance type of a host.
func (a *account) typeOf(h host) string { return cmp.Or(h.InstanceType, a.text("instance_type")) }

// types checks that the instance types exist, run the image, and are offered in the zones.
func (a *account) types(ctx context.Context) (string, error) {
	if a.hosts == nil {
		return "", noHosts
	} else if len(a.zones) == 0 {
		return "", Skip("the zones are unknown")
	}
	count, zones := map[string]int{}, map[string][]string{}
	storage := map[string]bool{}
	for _, h := range a.hosts {
		kind := a.typeOf(h)
		if kind == "" {
			return "", Skip("the module's variables do not name the instance types")
		}
		count[kind]++
		storage[kind] = storage[kind] || h.Role == "storage"
		if h.Zone != "" {
			zones[kind] = append(zones[kind], h.Zone)
		} else {
			zones[kind] = append(zones[kind], a.zones...)
		}
	}
	names := slices.Sorted(maps.Keys(count))
	if err := a.typesExist(ctx, names, storage); err != nil {
		return "", err
	}
	offerings, err := all(func(token *string) ([]types.InstanceTypeOffering, *string, error) {
		page, err := a.ec2.DescribeInstanceTypeOfferings(ctx, &ec2.DescribeInstanceTypeOfferingsInput{
			NextToken: token, LocationType: types.LocationTypeAvailabilityZone, Filters: filter("instance-type", names...),
		})
		if err != nil {
			return nil, nil, err
		}
		return page.InstanceTypeOfferings, page.NextToken, nil
	})
	if err != nil {
		return "", refused(err)
	}
	offered := map[string][]string{} // zones by type
	for _, o := range offerings {
		offered[string(o.InstanceType)] = append(offered[string(o.InstanceType)], aws.ToString(o.Location))
	}
	var found []string
	for _, name := range names {
		slices.Sort(zones[name])
		zones[name] = slices.Compact(zones[name])
		slices.Sort(offered[name])
		for _, zone := range zones[name] {
			if !slices.Contains(offered[name], zone) {
				return "", &Problem{
					fmt.Sprintf("%s does not offer %s", zone, name),
					"choose another type, or zones that have it: " + cmp.Or(strings.Join(offered[name], ", "), "this region has none"),
				}
			}
		}
		found = append(found, fmt.Sprintf("%d × %s, offered in %s", count[name], name, strings.Join(zones[name], ", ")))
	}
	return strings.Join(found, "; "), nil
}

func (a *account) typesExist(ctx context.Context, names []string, storage map[string]bool) error {
	known, err := all(func(token *string) ([]types.InstanceTypeInfo, *string, error) {
		page, err := a.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{NextToken: token, Filters: filter("instance-type", names...)})
		if err != nil {
			return nil, nil, err
		}
		return page.InstanceTypes, page.NextToken, nil
	})
	if err != nil {
		return refused(err)
	}
	vcpus := map[string]int{}
	for _, t := range known {
		name := string(t.InstanceType)
		if t.VCpuInfo != nil {
			vcpus[name] = int(aws.ToInt32(t.VCpuInfo.DefaultVCpus))
		}
		want, ok := processors[a.text("architecture")]
		switch {
		case ok && t.ProcessorInfo != nil && !slices.Contains(t.ProcessorInfo.SupportedArchitectures, types.ArchitectureType(want)):
			return &Problem{fmt.Sprintf("%s is not an %s type", name, a.text("architecture")), "choose another type, or set architecture"}
		case storage[name] && t.Hypervisor != types.InstanceTypeHypervisorNitro:
			return &Problem{name + ", of a storage host, does not expose the ids of volumes", "choose a type on the Nitro system, such as t3.small"}
		}
	}
	for _, name := range names {
		if _, ok := vcpus[name]; !ok {
			return &Problem{fmt.Sprintf("there is no instance type %s in %s", name, a.region), "aws ec2 describe-instance-types lists them"}
		}
	}
	a.vcpus = vcpus
	return nil
}

func (a *account) processor(context.Context) (string, error) {
	switch architecture := a.text("architecture"); architecture {
	case "":
		return "", Skip("the module has no variable architecture")
	case a.Processor:
		return "hosts and this machine are " + architecture, nil
	default:
		return "", &Problem{
			fmt.Sprintf("hosts are %s and this machine is %s; troop installs its own binaries on them", architecture, a.Processor),
			"set architecture to " + a.Processor + " with matching types, or run troop on a machine of the hosts' architecture",
		}
	}
}
