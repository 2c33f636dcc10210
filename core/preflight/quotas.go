package preflight

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
)

// standard are the families of instance types under the quota for standard vCPUs.
var standard = regexp.MustCompile(`^(a|c|d|h|i|im|is|m|r|t|z)[0-9]`)

// quotas checks that current use and the environment's needs fit the account's quotas.
func (a *account) quotas(ctx context.Context) (string, error) {
	if a.hosts == nil || a.vcpus == nil {
		return "", Skip("the needs of the hosts are unknown")
	}
	client := servicequotas.NewFromConfig(a.config)
	var found []string
	for _, q := range []struct {
		what, service, code string
		count               func(context.Context) (used, wanted int, err error)
	}{
		{"vCPUs", "ec2", "L-1216C47A", a.vCPUs},
		{"elastic addresses", "ec2", "L-0263D0A3", a.addresses},
		{"VPCs", "vpc", "L-F678F1CE", a.networks},
	} {
		used, wanted, err := q.count(ctx)
		if err != nil {
			return "", refused(err)
		}
		if wanted == 0 {
			continue
		}
		out, err := client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String(q.service), QuotaCode: aws.String(q.code)})
		if err != nil {
			return "", Skip(fmt.Sprintf("the limit of %s cannot be had from Service Quotas, which this region or account may not offer: %s", q.what, reason(err)))
		}
		limit := int(aws.ToFloat64(out.Quota.Value))
		if used+wanted > limit {
			return "", &Problem{
				fmt.Sprintf("%d %s needed; %d of %d in use", wanted, q.what, used, limit),
				fmt.Sprintf("aws service-quotas request-service-quota-increase --service-code %s --quota-code %s --desired-value %d", q.service, q.code, used+wanted),
			}
		}
		found = append(found, fmt.Sprintf("%d %s (%d of %d in use)", wanted, q.what, used, limit))
	}
	return cmp.Or(strings.Join(found, ", "), "no more needed"), nil
}

// vCPUs returns the vCPUs of standard types in use by other instances, and needed by all our hosts.
func (a *account) vCPUs(ctx context.Context) (used, wanted int, err error) {
	others, err := a.instances(ctx, filter("instance-state-name", "pending", "running"))
	if err != nil {
		return 0, 0, err
	}
	for _, i := range others {
		if standard.MatchString(string(i.InstanceType)) && i.CpuOptions != nil && tagOf(i.Tags, tag) != a.Environment && i.InstanceLifecycle == "" {
			used += int(aws.ToInt32(i.CpuOptions.CoreCount) * aws.ToInt32(i.CpuOptions.ThreadsPerCore))
		}
	}
	for _, h := range a.hosts {
		if kind := a.typeOf(h); standard.MatchString(kind) {
			wanted += a.vcpus[kind]
		}
	}
	return used, wanted, nil
}

// addresses counts elastic addresses; a router with a public address needs one.
func (a *account) addresses(ctx context.Context) (used, wanted int, err error) {
	if !a.public() {
		return 0, 0, nil
	}
	out, err := a.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
	if err != nil {
		return 0, 0, err
	}
	for _, address := range out.Addresses {
		if tagOf(address.Tags, tag) != a.Environment {
			used++
		}
	}
	return used, 1, nil
}

func (a *account) networks(context.Context) (used, wanted int, err error) {
	var ids []string
	if a.variable("subnet_ids", &ids); len(ids) > 0 {
		return 0, 0, nil
	}
	for _, vpc := range a.vpcs {
		if tagOf(vpc.Tags, tag) != a.Environment {
			used++
		}
	}
	return used, 1, nil
}
