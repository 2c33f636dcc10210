package preflight

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// EC2 checks an environment whose hosts are on EC2.
type EC2 struct {
	Environment string
	// Variables are the root module's, as JSON. Steps use the variables of terraform/aws; a step whose variable the
	// module does not have is skipped.
	Variables map[string]json.RawMessage
	Processor string // GOARCH of this machine: the hosts get its binaries
	PublicKey string // for the hosts; empty: not made yet
	// Managed returns the IDs of the instances in the state. It is called only if instances have the environment's
	// tag.
	Managed func(context.Context) ([]string, error)
}

// The tag of all resources of an environment.
const tag = "troop:environment"

// Steps returns the checks of the account. They use the SDK's default credentials, as Terraform does.
func (e EC2) Steps() []Step {
	a := &account{EC2: e}
	if !a.variable("hosts", &a.hosts) {
		a.hosts = nil
	}
	var steps []Step
	if a.text("connection") == "ssm" {
		steps = []Step{{Name: "sessions", Look: sessions}}
	}
	return append(steps, []Step{
		{Name: "processor", Look: a.processor},
		{Name: "credentials", Gate: true, Look: a.credentials},
		{Name: "region", Gate: true, Look: a.inRegion},
		{Name: "network", Look: a.network},
		{Name: "image", Look: a.image},
		{Name: "instance types", Look: a.types},
		{Name: "quotas", Look: a.quotas},
		{Name: "key", Look: a.key},
		{Name: "orphans", Look: a.orphans},
	}...)
}

// sessions looks for the programs that open sessions of AWS Systems Manager.
func sessions(context.Context) (string, error) {
	remedies := map[string]string{
		"aws":                    "install the AWS command line: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
		"session-manager-plugin": "install it: https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html",
	}
	for _, name := range slices.Sorted(maps.Keys(remedies)) {
		if _, err := exec.LookPath(name); err != nil {
			return "", &Problem{Text: name + " is not in PATH", Remedy: remedies[name]}
		}
	}
	return "aws and its session-manager-plugin are there", nil
}

// account holds what the steps have found so far.
type account struct {
	EC2
	config aws.Config
	ec2    *ec2.Client
	region string
	hosts  map[string]host // nil: unknown
	zones  []string        // for hosts without a zone; nil: unknown
	vpcs   []types.Vpc     // all VPCs of the region
	vcpus  map[string]int  // by instance type; nil: unknown
}

type host struct {
	Role         string
	InstanceType string `json:"instance_type"`
	Zone         string
}

// variable decodes a variable of the module and reports whether the module has it in that form.
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
		return "", &Problem{"none found, or they cannot be read: " + innermost(err).Error(), signIn}
	}
	me, err := sts.NewFromConfig(a.config).GetCallerIdentity(ctx, nil)
	if err != nil {
		return "", &Problem{"AWS rejects them: " + reason(err), signIn}
	}
	return aws.ToString(me.Arn), nil
}

// home returns a region that is always enabled, in the same partition as another. It knows all regions.
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
		return "", &Problem{"no region is set", "set the module's variable region, or AWS_REGION"}
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
		return "", &Problem{"no region is named " + a.region, "set region to one of " + strings.Join(usable, ", ")}
	}
	a.config.Region = a.region
	a.ec2 = ec2.NewFromConfig(a.config)
	return a.region, nil
}

// regions lists the regions from the home region, or from the wanted one if the account may not use home.
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

// key checks whether existing hosts of this environment have another key than ours.
func (a *account) key(ctx context.Context) (string, error) {
	out, err := a.ec2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{IncludePublicKey: aws.Bool(true), Filters: filter("tag:"+tag, a.Environment)})
	if err != nil {
		return "", refused(err)
	}
	var names []string
	for _, pair := range out.KeyPairs {
		if a.PublicKey != "" && slices.Equal(half(aws.ToString(pair.PublicKey)), half(a.PublicKey)) {
			return "the hosts have it as " + aws.ToString(pair.KeyName), nil
		}
		names = append(names, aws.ToString(pair.KeyName))
	}
	switch {
	case len(names) > 0:
		return "", &Problem{
			fmt.Sprintf("hosts of this environment have the key %s, not this folder's; an apply would replace them all", strings.Join(names, ", ")),
			fmt.Sprintf("copy .troop/%s from the machine that made them, or rename the environment", a.Environment),
		}
	case a.PublicKey == "":
		return "not made yet; the first plan makes it", nil
	}
	return "ssh_key exists; no host has it yet", nil
}

// half returns a public key without its comment.
func half(key string) []string {
	f := strings.Fields(key)
	return f[:min(2, len(f))]
}

// orphans finds instances that have the environment's tag but are not in the state, after an interrupted apply or a lost
// state.
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
		return "", fmt.Errorf("%d instances have the environment's tag, but the state cannot be read: %w", len(ours), err)
	}
	var lost []string
	for _, i := range ours {
		if id := aws.ToString(i.InstanceId); !slices.Contains(managed, id) {
			lost = append(lost, strings.TrimSpace(id+" "+tagOf(i.Tags, "troop:host")))
		}
	}
	if len(lost) > 0 {
		return "", &Problem{
			"instances that are not in the state: " + strings.Join(lost, ", "),
			fmt.Sprintf("unless another folder's state has them: troop state adopt --env %s takes them in, troop state orphans --remove --env %[1]s removes them", a.Environment),
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

// all collects all pages of a call. The SDK's own paginators take the client as an interface, so that the linker keeps
// all of its 800 calls: 30 MB.
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

// refused returns the problem for a failed call.
func refused(err error) error {
	var api smithy.APIError
	var op *smithy.OperationError
	if errors.As(err, &api) && errors.As(err, &op) && slices.Contains([]string{"UnauthorizedOperation", "AccessDenied"}, api.ErrorCode()) {
		policy := "troop"
		if slices.Contains([]string{iam.ServiceID, s3.ServiceID}, op.Service()) {
			policy = "backups"
		}
		return &Problem{
			fmt.Sprintf("%s:%s is not allowed", strings.ToLower(op.Service()), op.Operation()),
			"give the user or role the policy in terraform/aws/iam/" + policy + ".json",
		}
	}
	return errors.New(reason(err))
}

// reason returns AWS's own message, or the cause of a call that did not reach AWS, without the SDK's wrapping.
func reason(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return strings.TrimSuffix(api.ErrorCode()+": "+api.ErrorMessage(), ": ")
	}
	return innermost(err).Error()
}

// innermost returns the cause of an error, with the address if it is a network error.
func innermost(err error) error {
	if network := (*net.OpError)(nil); errors.As(err, &network) {
		return network
	}
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err
}
