package terraform

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// env is Terraform's process environment: ours, without variables that change the meaning of a command. The user's CLI
// configuration and plugin cache hold, unless the module has providers of ours, which need our configuration. Terraform
// warns about a configuration that the environment names and that does not exist; ours is empty then.
func (w *Workspace) env(environ []string) map[string]string {
	env := map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	env = tfexec.CleanEnv(env)
	delete(env, "TF_DATA_DIR")
	named := cmp.Or(env["TF_CLI_CONFIG_FILE"], env["TERRAFORM_CONFIG"])
	if _, err := os.Stat(named); len(w.Providers) > 0 || named != "" && err != nil {
		delete(env, "TERRAFORM_CONFIG")
		env["TF_CLI_CONFIG_FILE"] = w.path("cli.tfrc")
	}
	if len(w.Providers) > 0 {
		delete(env, "TF_PLUGIN_CACHE_DIR")
	}
	env["CHECKPOINT_DISABLE"] = "1"
	return env
}

// ignored lists the variables of an environment that mean something to Terraform and that troop does not pass on, sorted.
func ignored(environ []string) []string {
	var names []string
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		set := name == "TF_WORKSPACE" && value != "default" || name == "TF_DATA_DIR" || strings.HasPrefix(name, "TF_CLI_ARGS") || strings.HasPrefix(name, "TF_VAR_")
		if set && value != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
