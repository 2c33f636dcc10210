package preflight

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// EC2 is an environment whose hosts are made on EC2.
type EC2 struct {
	Environment string
	// Variables are those of the root module, as JSON. Steps look at those that terraform/aws has; a module without
	// them is not asked about.
	Variables map[string]json.RawMessage
	Processor string // of this machine, as Go writes it: the hosts get programs of its kind
	PublicKey string // that logs in to the hosts; empty: it is not made yet
	// Managed returns the IDs of the instances in the state. It is asked only when there are instances with the
	// environment's tag.
	Managed func(context.Context) ([]string, error)
}

// The tag that everything of an environment carries.
const tag = "troop:environment"

// Steps look at the account. The credentials are those that Terraform will find, wherever the SDK documents them.
func (e EC2) Steps() []Step {
	a := &account{EC2: e}
	if !a.variable("hosts", &a.hosts) {
		a.hosts = nil
	}
	return []Step{
		{Name: "processor", Look: a.processor},
		{Name: "credentials", Gate: true, Look: a.credentials},
		{Name: "region", Gate: true, Look: a.inRegion},
		{Name: "network", Look: a.network},
		{Name: "image", Look: a.image},
		{Name: "instance types", Look: a.types},
		{Name: "quotas", Look: a.quotas},
		{Name: "key", Look: a.key},
		{Name: "orphans", Look: a.orphans},
	}
}

// account is what the steps have found out so far.
type account struct {
	EC2
	config aws.Config
	ec2    *ec2.Client
	region string
	hosts  map[string]host // nil: the module does not say
	zones  []string        // where hosts that name none may be; nil: nobody knows
	vpcs   []types.Vpc     // of the region
	vcpus  map[string]int  // by instance type; nil: nobody knows
}

type host struct {
	Role         string
	InstanceType string `json:"instance_type"`
	Zone         string
}

// variable reads a variable of the module, and reports whether it has that, in that form.
func (a *account) variable(name string, into any) bool {
	value, ok := a.Variables[name]
	return ok && json.Unmarshal(value, into) == nil
}

func (a *account) text(name string) string {
	var text string
	a.variable(name, &text)
	return text
}

const noHosts = Skip("the module has no variable hosts as terraform/aws has it")

const signIn = "sign in with aws sso login and set AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; aws sts get-caller-identity says who you are"

func (a *account) credentials(ctx context.Context) (string, error) {
	var err error
	if a.config, err = config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{})); err != nil {
		return "", &Problem{err.Error(), signIn}
	}
	a.region = cmp.Or(a.text("region"), a.config.Region)
	a.config.Region = home(a.region)
	if _, err := a.config.Credentials.Retrieve(ctx); err != nil {
		return "", &Problem{"there are none, or they cannot be read: " + innermost(err).Error(), signIn}
	}
	me, err := sts.NewFromConfig(a.config).GetCallerIdentity(ctx, nil)
	if err != nil {
		return "", &Problem{"AWS does not take them: " + reason(err), signIn}
	}
	return aws.ToString(me.Arn), nil
}

// home is a region that is always there, in the partition of another: it knows all regions.
func home(region string) string {
	switch {
	case strings.HasPrefix(region, "us-gov-"):
		return "us-gov-west-1"
	case strings.HasPrefix(region, "cn-"):
		return "cn-north-1"
	}
	return "us-east-1"
}

func (a *account) inRegion(ctx context.Context) (string, error) {
	if a.region == "" {
		return "", &Problem{"none is named", "set the module's variable region, or AWS_REGION"}
	}
	regions, err := a.regions(ctx)
	if err != nil {
		return "", err
	}
	var usable []string
	for _, r := range regions {
		if aws.ToString(r.OptInStatus) != "not-opted-in" {
			usable = append(usable, aws.ToString(r.RegionName))
		} else if aws.ToString(r.RegionName) == a.region {
			return "", &Problem{a.region + " is not enabled for this account", "aws account enable-region --region-name " + a.region}
		}
	}
	slices.Sort(usable)
	if !slices.Contains(usable, a.region) {
		return "", &Problem{"there is no region " + a.region, "set region to one of " + strings.Join(usable, ", ")}
	}
	a.config.Region = a.region
	a.ec2 = ec2.NewFromConfig(a.config)
	return a.region, nil
}

// regions asks a region that is there for certain, and the wanted one when the account may not use the other.
func (a *account) regions(ctx context.Context) ([]types.Region, error) {
	var errs []error
	for _, at := range []string{home(a.region), a.region} {
		a.config.Region = at
		out, err := ec2.NewFromConfig(a.config).DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
		if err == nil {
			return out.Regions, nil
		}
		errs = append(errs, err)
	}
	return nil, refused(errs[0])
}

// key finds out whether hosts of this environment know another key than ours.
func (a *account) key(ctx context.Context) (string, error) {
	out, err := a.ec2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{IncludePublicKey: aws.Bool(true), Filters: filter("tag:"+tag, a.Environment)})
	if err != nil {
		return "", refused(err)
	}
	var names []string
	for _, pair := range out.KeyPairs {
		if a.PublicKey != "" && slices.Equal(half(aws.ToString(pair.PublicKey)), half(a.PublicKey)) {
			return "hosts know it as " + aws.ToString(pair.KeyName), nil
		}
		names = append(names, aws.ToString(pair.KeyName))
	}
	switch {
	case len(names) > 0:
		return "", &Problem{
			fmt.Sprintf("hosts of this environment know the key %s, which is not this folder's: it would replace them all", strings.Join(names, ", ")),
			fmt.Sprintf("copy .troop/%s from where they were made, or choose another name for the environment", a.Environment),
		}
	case a.PublicKey == "":
		return "the first plan makes it", nil
	}
	return "ssh_key is there, and no host knows it yet", nil
}

// half is a public key without its comment.
func half(key string) []string {
	f := strings.Fields(key)
	return f[:min(2, len(f))]
}

// orphans finds instances that carry the environment's tag and are in no state: an apply that was cut short, or a
// state that was lost.
func (a *account) orphans(ctx context.Context) (string, error) {
	ours, err := a.instances(ctx, append(filter("tag:"+tag, a.Environment), filter("instance-state-name", "pending", "running", "stopping", "stopped")...))
	if err != nil {
		return "", refused(err)
	}
	if len(ours) == 0 {
		return fmt.Sprintf("no instance has the tag %s = %s", tag, a.Environment), nil
	}
	managed, err := a.Managed(ctx)
	if err != nil {
		return "", fmt.Errorf("there are %d instances with the environment's tag, and the state cannot be read: %w", len(ours), err)
	}
	var lost, ids []string
	for _, i := range ours {
		if id := aws.ToString(i.InstanceId); !slices.Contains(managed, id) {
			lost = append(lost, strings.TrimSpace(id+" "+tagOf(i.Tags, "troop:host")))
			ids = append(ids, id)
		}
	}
	if len(lost) > 0 {
		return "", &Problem{
			"instances that no state knows: " + strings.Join(lost, ", "),
			fmt.Sprintf("unless they are another folder's: aws ec2 terminate-instances --region %s --instance-ids %s", a.region, strings.Join(ids, " ")),
		}
	}
	return fmt.Sprintf("all %d instances are in the state", len(ours)), nil
}

func (a *account) instances(ctx context.Context, filters []types.Filter) ([]types.Instance, error) {
	reservations, err := all(func(token *string) ([]types.Reservation, *string, error) {
		page, err := a.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{NextToken: token, Filters: filters})
		if err != nil {
			return nil, nil, err
		}
		return page.Reservations, page.NextToken, nil
	})
	var instances []types.Instance
	for _, r := range reservations {
		instances = append(instances, r.Instances...)
	}
	return instances, err
}

// all follows the tokens of a paged call. The SDK's own paginators take the client as an interface, and the linker
// then keeps each of its 800 calls, which are 30 MB.
func all[T any](page func(token *string) (items []T, next *string, err error)) ([]T, error) {
	var found []T
	for token := (*string)(nil); ; {
		items, next, err := page(token)
		if err != nil {
			return nil, err
		}
		found = append(found, items...)
		if aws.ToString(next) == "" {
			return found, nil
		}
		token = next
	}
}

func filter(name string, values ...string) []types.Filter {
	return []types.Filter{{Name: aws.String(name), Values: values}}
}

func tagOf(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// refused is the problem behind a call that AWS did not answer.
func refused(err error) error {
	var api smithy.APIError
	var op *smithy.OperationError
	if errors.As(err, &api) && errors.As(err, &op) && api.ErrorCode() == "UnauthorizedOperation" {
		return &Problem{
			fmt.Sprintf("%s:%s is not allowed", strings.ToLower(op.Service()), op.Operation()),
			"give the user or role the policy in terraform/aws/iam/troop.json",
		}
	}
	return errors.New(reason(err))
}

// reason is what AWS says, or what is behind a call that did not reach it, without the layers of the SDK.
func reason(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return strings.TrimSuffix(api.ErrorCode()+": "+api.ErrorMessage(), ": ")
	}
	return innermost(err).Error()
}

// innermost is the cause of an error, with the address when it is one of the network.
func innermost(err error) error {
	if network := (*net.OpError)(nil); errors.As(err, &network) {
		return network
	}
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err
}
