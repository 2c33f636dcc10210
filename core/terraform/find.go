package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/go-version"
	install "github.com/hashicorp/hc-install/fs"
	"github.com/hashicorp/hc-install/product"
)

const minimum = ">= 1.5.0"

// patience is for a machine under load, where a version takes longer than the library's 10 s. Tests shorten it.
var patience = time.Minute

// Find looks for a program, terraform or tofu, in PATH; empty: for Terraform, then for OpenTofu.
func Find(ctx context.Context, program string) (string, error) {
	path, _, err := find(ctx, program)
	return path, err
}

// find is Find that also returns product and version.
func find(ctx context.Context, program string) (path, which string, err error) {
	constraints, err := version.NewConstraint(minimum)
	if err != nil {
		return "", "", err
	}
	var reasons []error
	for _, name := range programs(program) {
		source := &install.Version{
			Product: product.Product{
				Name:       name,
				BinaryName: func() string { return name },
				GetVersion: func(ctx context.Context, path string) (*version.Version, error) {
					v, err := versionOf(ctx, path)
					if err != nil {
						return nil, err
					}
					which = name + " " + v.String()
					return v.Core(), nil // a pre-release is good enough; constraints refuse each
				},
			},
			Constraints: constraints,
			Timeout:     patience,
		}
		path, err := source.Find(ctx)
		if err == nil {
			return path, which, nil
		}
		reasons = append(reasons, fmt.Errorf("%s: %w", name, err))
	}
	return "", "", fmt.Errorf("find %s %s in PATH: %w; install it", strings.Join(programs(program), " or "), minimum, errors.Join(reasons...))
}

// programs are the names to look for.
func programs(named string) []string {
	if named != "" {
		return []string{named}
	}
	return []string{"terraform", "tofu"}
}

// versionOf asks without the user's CLI configuration: OpenTofu warns about a missing one on standard output.
func versionOf(ctx context.Context, path string) (*version.Version, error) {
	cmd := exec.CommandContext(ctx, path, "version", "-json")
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("get version of %s: %w", path, err)
	}
	var answer struct {
		Version *version.Version `json:"terraform_version"`
	}
	if err := json.Unmarshal(out, &answer); err != nil || answer.Version == nil {
		return nil, fmt.Errorf("get version of %s: unexpected output", path)
	}
	return answer.Version, nil
}
