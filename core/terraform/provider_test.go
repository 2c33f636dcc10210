package terraform

import (
	"strings"
	"testing"
)

func TestCLIConfig(t *testing.T) {
	tests := map[string]struct {
		user, want string
		mirrors    map[string]string
	}{
		"no configuration": {
			mirrors: map[string]string{"troop.local/troop/lab": "/work/m"},
			want: `provider_installation {
  direct {
    exclude = ["troop.local/troop/lab"]
  }
  filesystem_mirror {
    path    = "/work/m"
    include = ["troop.local/troop/lab"]
  }
}
`,
		},
		"no provider": {user: "disable_checkpoint = true\n", want: "disable_checkpoint = true\nprovider_installation {\n  direct {\n  }\n}\n"},
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
			got, err := cliConfig([]byte(tt.user), tt.mirrors)
			if err != nil || string(got) != tt.want {
				t.Errorf("got\n%s\nwant\n%s%v", got, tt.want, err)
			}
		})
	}
}

func TestCLIConfigThatCannotBeRead(t *testing.T) {
	for _, user := range []string{"provider_installation {", "provider_installation {\n dev_overrides {\n \"a/b\" = \"/b\"\n }\n}\n", "provider_installation {\n direct {\n exclude = 1\n }\n}\n", "provider_installation {\n direct {\n exclude = [x]\n }\n}\n"} {
		if got, err := cliConfig([]byte(user), nil); err == nil {
			t.Errorf("%q became %q", user, got)
		}
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
