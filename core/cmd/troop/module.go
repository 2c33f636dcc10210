package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/terraform"
	modules "github.com/seed-b96de936/troop/terraform"
)

// labProvider is the source address of the provider behind terraform/lab.
const labProvider = "troop.local/troop/lab"

// openModule returns the root module of an environment: one that ships with troop, or a folder.
func openModule(t *core.TerraformConfig) (fs.FS, error) {
	if filepath.IsAbs(t.Module) {
		return os.DirFS(t.Module), nil
	}
	return modules.Open(t.Module)
}

// checkModules finds variables of the manifest that a module does not have: Terraform would only warn, and that late.
func checkModules(p *core.Pipeline) core.Diagnostics {
	var diags core.Diagnostics
	for _, e := range p.Environments {
		if e.Terraform == nil || e.Terraform.Module == "" {
			continue
		}
		module, err := openModule(e.Terraform)
		if err != nil {
			continue // the manifest's own diagnostics tell of a module that is not there
		}
		err = terraform.Check(module, e.Terraform.Variables)
		d := core.Diagnostic{Range: e.Terraform.Range}
		undeclared := (*terraform.UndeclaredError)(nil)
		switch {
		case err == nil:
			continue
		case errors.As(err, &undeclared):
			d.Summary = "Unknown module variable"
			d.Detail = fmt.Sprintf("Module %s has no variable %s; it has %s.",
				e.Terraform.Module, strings.Join(undeclared.Names, ", "), strings.Join(undeclared.Declared, ", "))
		default:
			d.Summary, d.Detail = "Module cannot be read", err.Error()
		}
		diags = append(diags, d)
	}
	return diags
}

// localProviders are the provider binaries that a module needs and that lie beside troop.
func localProviders(module fs.FS) (map[string]string, error) {
	required, err := terraform.Required(module)
	if err != nil || !slices.Contains(required, labProvider) {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(filepath.Dir(self), "terraform-provider-lab")
	if _, err := os.Stat(binary); err != nil {
		return nil, &core.NotFoundError{
			What: "provider", Name: binary,
			Remedy: "it makes the hosts of this environment and belongs beside troop: copy it there, or build both with make build",
		}
	}
	return map[string]string{labProvider: binary}, nil
}
