package environment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/policy"
	"github.com/seed-b96de936/troop/core/terraform"
	"github.com/seed-b96de936/troop/playbooks"
	modules "github.com/seed-b96de936/troop/terraform"
)

// labProvider is the source address of the provider used by terraform/lab.
const labProvider = "troop.local/troop/lab"

// openModule returns an environment's root module: one that ships with troop, or a folder.
func openModule(t *core.TerraformConfig) (fs.FS, error) {
	if filepath.IsAbs(t.Module) {
		return terraform.ReadBy(os.DirFS(t.Module), t.Program)
	}
	return modules.Open(t.Module)
}

// localProviders returns the binaries of the module's providers that ship with troop, by source address.
func (o Options) localProviders(module fs.FS) (map[string]string, error) {
	required, err := terraform.Required(module)
	if err != nil || !slices.Contains(required, labProvider) {
		return nil, err
	}
	binary, err := o.program("terraform-provider-lab")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, &core.NotFoundError{
			What: "provider", Name: binary,
			Remedy: "it makes this environment's hosts and must be in the same folder as troop: copy it there, or build both with make build",
		}
	}
	return map[string]string{labProvider: binary}, nil
}

// readRules reads and compiles an environment's rule files.
func readRules(conf core.Environment) (map[string][]byte, error) {
	texts := map[string][]byte{}
	if conf.Terraform == nil {
		return texts, nil
	}
	for _, path := range conf.Terraform.Review.Rules {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		texts[path] = text
	}
	return texts, nil
}

// Check checks the modules and rules of a manifest's environments without starting a program. It also returns the sources
// of rule files with mistakes, to quote in diagnostics.
func Check(p *core.Pipeline) (diags core.Diagnostics, sources map[string][]byte) {
	sources = map[string][]byte{}
	for _, e := range p.Environments {
		if e.Terraform != nil && e.Terraform.Module != "" {
			diags = append(diags, checkModule(e.Terraform)...)
		}
		if a := e.Ansible; a != nil && filepath.IsAbs(a.Playbook) {
			diags = append(diags, ansible.CheckRoles(a.Playbook, p.Dir, a.Requirements, playbooks.FS)...)
		}
		rules, err := readRules(e)
		found := checkRules(p.Dir, e, rules, err)
		if len(found) > 0 {
			maps.Copy(sources, rules)
		}
		for _, d := range found {
			if !slices.Contains(diags, d) { // environments may share rule files
				diags = append(diags, d)
			}
		}
	}
	return diags, sources
}

// checkModule finds undeclared variables. Terraform would only warn, and late.
func checkModule(t *core.TerraformConfig) core.Diagnostics {
	module, err := openModule(t)
	if err != nil && !filepath.IsAbs(t.Module) {
		return nil // the manifest's own diagnostics report a missing module
	}
	if err == nil {
		err = terraform.Check(module, t.Variables)
	}
	undeclared, ok := errors.AsType[*terraform.UndeclaredError](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return core.Diagnostics{{Summary: "Module cannot be read", Detail: err.Error(), Range: t.Range}}
	}
	var diags core.Diagnostics
	for _, name := range undeclared.Names {
		diags = append(diags, core.Diagnostic{
			Summary: "Unknown module variable",
			Detail:  fmt.Sprintf("Module %s has no variable %s; it has %s.", t.Module, name, strings.Join(undeclared.Declared, ", ")),
			Range:   t.Places[name],
		})
	}
	return diags
}

func checkRules(dir string, e core.Environment, rules map[string][]byte, err error) core.Diagnostics {
	if err == nil && len(rules) > 0 {
		_, err = policy.Compile(dir, rules)
	}
	if err == nil {
		return nil
	}
	if diags, ok := errors.AsType[core.Diagnostics](err); ok {
		return diags
	}
	return core.Diagnostics{{Summary: "Rules cannot be read", Detail: err.Error(), Range: e.Terraform.Range}}
}
