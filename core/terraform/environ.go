package terraform

import (
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// env is Terraform's process environment: ours, without variables that change the meaning of a command, plus our CLI
// configuration.
func (w *Workspace) env(environ []string) map[string]string {
	env := map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	env = tfexec.CleanEnv(env)
	for _, name := range []string{"TF_DATA_DIR", "TF_PLUGIN_CACHE_DIR", "TF_CLI_CONFIG_FILE", "TERRAFORM_CONFIG"} {
		delete(env, name)
	}
	env["TF_CLI_CONFIG_FILE"] = w.path("cli.tfrc")
	env["CHECKPOINT_DISABLE"] = "1"
	return env
}
