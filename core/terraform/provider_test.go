package terraform

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCLIConfig(t *testing.T) {
	tests := map[string]struct {
		user, want string
		mirrors    map[string]string
	}{
		"no configuration": {mirrors: map[string]string{"troop.local/troop/lab": "/work/m"}},
		"no provider":      {user: "disable_checkpoint = true\nplugin_cache_dir = \"/cache\"\n", want: "disable_checkpoint = true\n"},
		"overrides": {
			user:    "provider_installation {\n  dev_overrides {\n    \"hashicorp/aws\" = \"/b\"\n  }\n}\n",
			mirrors: map[string]string{"troop.local/troop/lab": "/work/m"},
			want: `provider_installation {
  dev_overrides {
    "hashicorp/aws" = "/b"
  }

  filesystem_mirror {
    path    = "/work/m"
    include = ["troop.local/troop/lab"]
  }
}
`,
		},
		"the user's own": {
			user: `credentials "tf.example.com" {
  token = "t"
}
provider_installation {
  network_mirror {
    url     = "https://mirror.example.com/"
    exclude = ["example.com/*/*"]
  }
}
`,
			mirrors: map[string]string{"troop.local/troop/lab": "/work/m"},
			want: `credentials "tf.example.com" {
  token = "t"
}
provider_installation {
  network_mirror {
    url     = "https://mirror.example.com/"
    exclude = ["example.com/*/*", "troop.local/troop/lab"]
  }
  filesystem_mirror {
    path    = "/work/m"
    include = ["troop.local/troop/lab"]
  }
}
`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, installs, err := cliConfig([]byte(tt.user), tt.mirrors)
			if err != nil || string(got) != tt.want || installs != strings.Contains(tt.user, "provider_installation") {
				t.Errorf("got\n%s\nwant\n%s%v", got, tt.want, err)
			}
		})
	}
}

func TestCLIConfigThatCannotBeRead(t *testing.T) {
	for _, user := range []string{"provider_installation {", "provider_installation {\n dev_overrides {\n \"a/b\" = \"/b\"\n", "provider_installation {\n direct {\n exclude = 1\n }\n}\n", "provider_installation {\n direct {\n exclude = [x]\n }\n}\n"} {
		if got, _, err := cliConfig([]byte(user), nil); err == nil {
			t.Errorf("%q became %q", user, got)
		}
	}
}

// TestUsersSetUp: a module without our providers gets the user's configuration and cache untouched.
func TestUsersSetUp(t *testing.T) {
	w := workspaceFor(t)
	file := filepath.Join(t.TempDir(), "rc")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := file + ".missing"
	for name, tt := range map[string]struct {
		environ   []string
		providers map[string]string
		config    string
		cache     bool
	}{
		"nothing":            {},
		"a file":             {[]string{"TF_CLI_CONFIG_FILE=" + file}, nil, file, false},
		"a cache":            {[]string{"TF_PLUGIN_CACHE_DIR=/cache"}, nil, "", true},
		"a missing file":     {[]string{"TF_CLI_CONFIG_FILE=" + missing}, nil, w.path("cli.tfrc"), false},
		"providers of ours":  {[]string{"TF_CLI_CONFIG_FILE=" + file, "TF_PLUGIN_CACHE_DIR=/cache"}, map[string]string{"a/b": "/b"}, w.path("cli.tfrc"), false},
		"the older variable": {[]string{"TERRAFORM_CONFIG=" + missing}, nil, w.path("cli.tfrc"), false},
	} {
		w.Providers = tt.providers
		env := w.env(tt.environ)
		if _, cache := env["TF_PLUGIN_CACHE_DIR"]; env["TF_CLI_CONFIG_FILE"] != tt.config || cache != tt.cache {
			t.Errorf("%s: %v", name, env)
		}
	}
	if got := ignored([]string{"TF_VAR_region=x", "TF_WORKSPACE=dev", "TF_LOG=", "PATH=/bin"}); !slices.Equal(got, []string{"TF_VAR_region", "TF_WORKSPACE"}) {
		t.Errorf("ignored: %q", got)
	}
}

func TestUnlock(t *testing.T) {
	const ours = `
provider "troop.local/troop/lab" {
  version = "0.1.0"
  hashes = [
    "h1:old",
  ]
}
`
	const others = `# This file is maintained automatically.

provider "registry.example.com/hashicorp/aws" {
  version = "5.32.0"
}
`
	got, err := unlock([]byte(others+ours), []string{"troop.local/troop/lab"})
	if err != nil || strings.TrimSpace(string(got)) != strings.TrimSpace(others) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := unlock([]byte("provider {"), nil); err == nil {
		t.Error("a lock file that is not one is accepted")
	}
}
