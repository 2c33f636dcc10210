package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/hashicorp/go-version"
	install "github.com/hashicorp/hc-install/fs"
	"github.com/hashicorp/hc-install/product"
)

const minimum = ">= 1.5.0"

// patience is for a machine under load, where a version takes longer than the library's 10 s.
const patience = time.Minute

// Find looks for Terraform, then OpenTofu, in PATH.
func Find(ctx context.Context) (string, error) {
	path, _, err := find(ctx)
	return path, err
}

// find is Find that also returns product and version.
func find(ctx context.Context) (path, which string, err error) {
	constraints, err := version.NewConstraint(minimum)
	if err != nil {
		return "", "", err
	}
	var reasons []error
	for _, name := range []string{"terraform", "tofu"} {
		source := &install.Version{
			Product: product.Product{
				Name:       name,
				BinaryName: func() string { return name },
				GetVersion: func(ctx context.Context, path string) (*version.Version, error) {
					v, err := versionOf(ctx, path)
					if err == nil {
						which = name + " " + v.String()
					}
					return v, err
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
	return "", "", fmt.Errorf("find Terraform %s or OpenTofu in PATH: %w; install one of them", minimum, errors.Join(reasons...))
}

// versionOf reads standard output only: Terraform warns on standard error if the environment names a missing CLI
// configuration.
func versionOf(ctx context.Context, path string) (*version.Version, error) {
	out, err := exec.CommandContext(ctx, path, "version", "-json").Output()
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
