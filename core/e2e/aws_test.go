//go:build aws

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/terraform/moto"
)

// cloud is a project with one environment on moto, with its state in a bucket there.
type cloud struct {
	dir, name string
}

const cloudManifest = `pipeline "shop" {
  source { path = "." }
}
environment %[1]q {
  terraform {
    module    = "aws"
    variables = {
      region    = %[2]q
      ssh_cidrs = ["203.0.113.7/32"]
      zones     = ["%[2]sa"]
      hosts     = %[3]s
      backups   = { enabled = %[5]t }
    }
    backend "s3" {
      bucket         = "state"
      key            = %[1]q
      region         = %[2]q
      use_lockfile   = true
      use_path_style = true
    }
    review { approve = %[4]t }
  }
}
`

func newCloud(t *testing.T, name, hosts string, approve bool) cloud {
	t.Helper()
	c := cloud{dir: t.TempDir(), name: name}
	text := fmt.Sprintf(cloudManifest, name, moto.Region, hosts, approve, strings.HasSuffix(name, "backups"))
	if err := os.WriteFile(filepath.Join(c.dir, "pipeline.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "first"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = c.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return c
}

func (c cloud) command(args ...string) *exec.Cmd {
	troop, _ := filepath.Abs("../../bin/troop")
	cmd := exec.Command(troop, args...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), "NO_COLOR=1")
	return cmd
}

// troop runs a command to its end. It must end with the status.
func (c cloud) troop(t *testing.T, status int, args ...string) string {
	t.Helper()
	cmd, start := c.command(args...), time.Now()
	out, _ := cmd.CombinedOutput()
	t.Logf("%s troop %s", time.Since(start).Round(time.Second), strings.Join(args, " "))
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("troop %v: exit status %d, want %d\n%s", args, got, status, out)
	}
	return string(out)
}

// killedApply kills an apply with -9 once a line matches.
func (c cloud) killedApply(t *testing.T, moment string) {
	t.Helper()
	cmd := c.command("apply", "--yes", "--configure=false")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&seen, lines.Text())
		if regexp.MustCompile(moment).MatchString(lines.Text()) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return
		}
	}
	_ = cmd.Wait()
	t.Fatalf("the apply ended before %s:\n%s", moment, seen.String())
}

// own returns an element of the environment's resources of a kind.
func (c cloud) own(t *testing.T, describe, element string, more ...string) []string {
	t.Helper()
	return moto.Describe(t, describe, element, append([]string{"tag:troop:environment", c.name}, more...)...)
}

const twoHosts = `{ router-1 = { role = "router" }, storage-1 = { role = "storage" } }`

// begun returns names in an answer of IAM or S3 that begin as the environment's do.
func (c cloud) begun(t *testing.T, service, query, element string) []string {
	t.Helper()
	return slices.DeleteFunc(moto.Names(t, service, query, element), func(name string) bool { return !strings.HasPrefix(name, "troop-"+c.name+"-") })
}

// ids returns the IDs of all resources that exist with the environment's tag, by kind.
func (c cloud) ids(t *testing.T) map[string][]string {
	t.Helper()
	return map[string][]string{
		"vpc":     c.own(t, "DescribeVpcs", "vpcId"),
		"subnet":  c.own(t, "DescribeSubnets", "subnetId"),
		"igw":     c.own(t, "DescribeInternetGateways", "internetGatewayId"),
		"rtb":     c.own(t, "DescribeRouteTables", "routeTableId"),
		"sg":      c.own(t, "DescribeSecurityGroups", "groupId"),
		"eip":     c.own(t, "DescribeAddresses", "allocationId"),
		"key":     c.own(t, "DescribeKeyPairs", "keyPairId"),
		"disk":    c.own(t, "DescribeVolumes", "volumeId", "tag-key", "troop:data"),
		"bucket":  c.begun(t, "s3", "", "Name"),
		"role":    c.begun(t, "iam", "Action=ListRoles&Version=2010-05-08", "RoleName"),
		"profile": c.begun(t, "iam", "Action=ListInstanceProfiles&Version=2010-05-08", "InstanceProfileName"),
		"host":    c.own(t, "DescribeInstances", "instanceId", "instance-state-name", "pending,running"),
	}
}

// whole checks that everything is there once, and in the state.
func (c cloud) whole(t *testing.T) {
	t.Helper()
	ids := c.ids(t)
	for kind, want := range map[string]int{"vpc": 1, "subnet": 1, "igw": 1, "rtb": 1, "sg": 4, "eip": 1, "key": 1, "disk": 1, "host": 2} {
		if len(ids[kind]) != want {
			t.Errorf("%s: %s, want %d", kind, ids[kind], want)
		}
	}
	for _, kind := range []string{"bucket", "role", "profile"} {
		if want := strings.HasSuffix(c.name, "backups"); (len(ids[kind]) == 1) != want || len(ids[kind]) > 1 {
			t.Errorf("%s: %s, want one: %v", kind, ids[kind], want)
		}
	}
	if out := c.troop(t, 0, "plan"); !strings.Contains(out, "nothing to change") || strings.Contains(out, "in no state") {
		t.Errorf("a plan after it:\n%s", out)
	}
}

// moments of an apply, by the line that begins them.
var moments = map[string]string{
	"network":     `aws_vpc\.this\[0\]: done`,
	"subnet":      `aws_subnet\..*: done`,
	"groups":      `aws_security_group\.router: done`,
	"instances":   `aws_instance\..*: done`,
	"attachments": `aws_(eip_association|volume_attachment)\..*: done`,
	"backups":     `aws_iam_instance_profile\..*: done`,
}

// TestReal runs troop with the real provider, with one server for all: most of the time they wait.
func TestReal(t *testing.T) {
	moto.Start(t)
	moto.AWS(t, "s3", "mb", "s3://state")
	t.Run("all", func(t *testing.T) { // ends when all have, before moto does
		t.Run("troop", life)
		orphans(t)
	})
}

// orphans kills an apply with -9 at several moments. Every later plan names what no state knows; it can be taken in, or
// removed, and the next apply makes the rest. With -short, as in make test, it is one moment of each kind.
func orphans(t *testing.T) {
	for name, moment := range moments {
		if testing.Short() && name != "instances" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, name, twoHosts, false)
			c.killedApply(t, moment)
			before := c.ids(t)
			if name == "instances" { // the others see it by adopt, which plans as well
				c.named(t, c.troop(t, 2, "plan"))
			}
			adopted := c.troop(t, 0, "state", "adopt")
			c.names(t, adopted)
			if !strings.Contains(adopted, "imported as") && !strings.Contains(adopted, "> import") {
				t.Errorf("nothing is taken in:\n%s", adopted)
			}
			c.troop(t, 0, "apply", "--yes", "--configure=false")
			c.whole(t)
			after := c.ids(t)
			for _, kind := range []string{"vpc", "host"} {
				for _, id := range before[kind] {
					if !slices.Contains(after[kind], id) {
						t.Errorf("%s was replaced", id)
					}
				}
			}
		})
	}
	for _, name := range []string{"backups", "attachments"} {
		if testing.Short() && name != "attachments" {
			continue
		}
		t.Run("remove-"+name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, "remove-"+name, twoHosts, false)
			c.killedApply(t, moments[name])
			c.troop(t, 2, "state", "orphans", "--remove") // nobody to ask
			holding := func(ids map[string][]string) []string { return slices.Concat(ids["disk"], ids["bucket"]) }
			data := holding(c.ids(t))
			c.troop(t, 0, "state", "orphans", "--remove", "--yes")
			left := c.ids(t)
			if !slices.Equal(holding(left), data) {
				t.Errorf("what holds data: %s, there was %s", holding(left), data)
			}
			if name == "backups" && len(left["role"])+len(left["profile"]) > 0 {
				t.Errorf("left: %v", left)
			}
			for _, id := range data {
				if strings.Contains(c.troop(t, 0, "state", "orphans"), id) {
					c.troop(t, 0, "state", "orphans", id, "--remove", "--yes")
				}
			}
			c.troop(t, 0, "apply", "--yes", "--configure=false")
			c.whole(t)
		})
	}
}

// names checks that a plan names everything that the environment has and its state has not.
func (c cloud) names(t *testing.T, plan string) {
	t.Helper()
	state, _ := exec.Command("aws", "s3", "cp", "s3://state/"+c.name, "-").Output() // there is none before it was first written
	for kind, ids := range c.ids(t) {
		if kind == "key" { // is imported by its name
			ids = c.own(t, "DescribeKeyPairs", "keyName")
		}
		for _, id := range ids {
			if !strings.Contains(plan, id) && !bytes.Contains(state, []byte(id)) {
				t.Errorf("the plan does not name %s:\n%s", id, plan)
			}
		}
	}
}

// named is names of a plan that also says what to do.
func (c cloud) named(t *testing.T, plan string) {
	t.Helper()
	c.names(t, plan)
	if !strings.Contains(plan, "in no state") || !strings.Contains(plan, "troop state adopt --env "+c.name) {
		t.Errorf("no remedy:\n%s", plan)
	}
}

// moves moves the state to another key of the bucket and back. A plan says what to do first.
func (c cloud) moves(t *testing.T) {
	t.Helper()
	file := filepath.Join(c.dir, "pipeline.hcl")
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := bytes.Replace(first, fmt.Appendf(nil, "key            = %q", c.name), []byte(`key            = "elsewhere"`), 1)
	for _, text := range [][]byte{elsewhere, first} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := c.troop(t, 1, "plan"); !strings.Contains(out, "troop state migrate") {
			t.Errorf("a plan before the move:\n%s", out)
		}
		c.troop(t, 0, "state", "migrate", "--yes")
	}
	if out := c.troop(t, 0, "plan"); !strings.Contains(out, "nothing to change") {
		t.Errorf("a plan after the moves:\n%s", out)
	}
}

// life takes an environment through plan, approval, apply, state, preflight, drift and destroy.
func life(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "cloud", `{ router-1 = { role = "router" }, web-1 = { role = "production" } }`, true)
	out := c.troop(t, 2, "plan")
	id := regexp.MustCompile(`\(plan ([0-9a-f]{12})\)`).FindStringSubmatch(out)
	if id == nil || !strings.Contains(out, "waits for approval") {
		t.Fatalf("plan:\n%s", out)
	}
	if out := c.troop(t, 1, "apply", "--yes", "--configure=false"); !strings.Contains(out, "troop approve") {
		t.Errorf("without an approval:\n%s", out)
	}
	c.troop(t, 0, "approve", id[1])
	if out := c.troop(t, 0, "apply", "--configure=false"); !strings.Contains(out, "web-1") {
		t.Errorf("apply:\n%s", out)
	}
	if out := c.troop(t, 0, "plan"); !strings.Contains(out, "nothing to change") {
		t.Errorf("a second plan:\n%s", out)
	}
	for line := range strings.Lines(c.troop(t, 2, "drift")) { // the hosts of moto answer no SSH
		if !strings.Contains(line, "unreachable") {
			t.Errorf("drift after an apply: %s", line)
		}
	}
	for want, args := range map[string][]string{
		`aws_instance.host["web-1"]`: {"state", "list"},
		"t3.small":                   {"state", "show", "web-1"},
		"is not locked":              {"state", "lock"},
		"in the state":               {"preflight"},
	} {
		if args[0] == "preflight" {
			cmd := c.command(args...)
			if out, _ := cmd.CombinedOutput(); !bytes.Contains(out, []byte(want)) { // moto has no quotas
				t.Errorf("troop %v:\n%s", args, out)
			}
		} else if out := c.troop(t, 0, args...); !strings.Contains(out, want) {
			t.Errorf("troop %v:\n%s", args, out)
		}
	}
	c.moves(t)
	group := c.own(t, "DescribeSecurityGroups", "groupId", "tag:Name", "troop-cloud-router")
	web := c.own(t, "DescribeInstances", "instanceId", "tag:troop:host", "web-1")
	moto.AWS(t, "ec2", "authorize-security-group-ingress", "--group-id", group[0], "--protocol", "tcp", "--port", "6379", "--cidr", "0.0.0.0/0")
	moto.AWS(t, "ec2", "terminate-instances", "--instance-ids", web[0])
	lines := strings.Split(c.troop(t, 2, "drift"), "\n")
	if len(lines) < 2 || !strings.Contains(lines[0], "0.0.0.0/0 may reach router-1 on 6379/tcp") || !strings.Contains(lines[1], "web-1") {
		t.Errorf("drift begins with:\n%s", strings.Join(lines, "\n"))
	}
	if out := c.troop(t, 2, "plan"); !strings.Contains(out, "- 0.0.0.0/0 may reach router-1 on 6379/tcp") {
		t.Errorf("the plan that mends it:\n%s", out)
	}
	id = regexp.MustCompile(`\(plan ([0-9a-f]{12})\)`).FindStringSubmatch(c.troop(t, 1, "destroy", "--yes"))
	c.troop(t, 0, "approve", id[1])
	c.troop(t, 0, "destroy", "--yes")
	if left := c.own(t, "DescribeInstances", "instanceId", "instance-state-name", "pending,running,stopped"); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
}
