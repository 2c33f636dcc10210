package terraform

import (
	"archive/zip"
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-b96de936/troop/plugins/sdk/tooltest"
)

// teams is a module that needs a provider of a team, and one of ours if it is named.
const teams = `terraform {
  required_providers {
    cloud = { source = "providers.test/team/cloud" }
    %s
  }
}
`

const ours = "troop.local/troop/lab"

// TestProviderSources finds a team's provider in every way that Terraform has to give one without a registry, beside a
// provider of ours and without; with Terraform and with OpenTofu.
func TestProviderSources(t *testing.T) {
	tooltest.InPath(t, "tofu")
	for _, program := range programs("") {
		t.Run(program, func(t *testing.T) { providerSources(t, program) })
	}
}

func providerSources(t *testing.T, program string) {
	t.Helper()
	platform := runtime.GOOS + "_" + runtime.GOARCH
	const binary = "terraform-provider-cloud_v1.0.0"
	// mirrored puts the provider into a folder of providers.
	mirrored := func(t *testing.T, dir string) string {
		t.Helper()
		put(t, filepath.Join(dir, "providers.test/team/cloud/1.0.0", platform, binary), "#!/bin/sh\nexit 1\n", 0o700)
		return dir
	}
	for name, give := range map[string]func(t *testing.T, home string) (config string){
		"explicit mirror": func(t *testing.T, _ string) string {
			return fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirrored(t, t.TempDir()))
		},
		"implied mirror": func(t *testing.T, home string) string {
			mirrored(t, filepath.Join(home, ".terraform.d", "plugins"))
			return ""
		},
		"implied mirror beside other settings": func(t *testing.T, home string) string {
			mirrored(t, filepath.Join(home, ".terraform.d", "plugins"))
			return "disable_checkpoint = true\n"
		},
		"cache": func(t *testing.T, home string) string {
			cache := t.TempDir()
			t.Setenv("TF_PLUGIN_CACHE_DIR", cache)
			mirrored(t, filepath.Join(home, ".terraform.d", "plugins"))
			return fmt.Sprintf("plugin_cache_dir = %q\n", cache)
		},
		"network mirror": func(t *testing.T, _ string) string {
			return fmt.Sprintf("provider_installation {\n  network_mirror {\n    url = %q\n  }\n}\n", networkMirror(t, binary, platform)+"/")
		},
		"override": func(t *testing.T, home string) string {
			mirrored(t, filepath.Join(home, "mirror"))
			return fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"providers.test/team/cloud\" = %q\n  }\n  filesystem_mirror {\n    path = %q\n  }\n}\n", started(t, home), filepath.Join(home, "mirror"))
		},
	} {
		for _, beside := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, beside), func(t *testing.T) {
				home := t.TempDir()
				t.Setenv("HOME", home)
				t.Setenv("TF_CLI_CONFIG_FILE", "")
				if config := give(t, home); config != "" {
					put(t, filepath.Join(home, ".terraformrc"), config, 0o600)
				}
				also := ""
				o := Options{Dir: t.TempDir(), Environment: "lab", Program: program}
				if beside {
					also = fmt.Sprintf("lab = { source = %q }", ours)
					o.Providers = map[string]string{ours: put(t, filepath.Join(t.TempDir(), "lab"), "#!/bin/sh\nexit 1\n", 0o700)}
				}
				o.Module = fstest.MapFS{"main.tf": {Data: fmt.Appendf(nil, teams, also)}}
				w, err := Open(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if err := w.prepare(t.Context()); err != nil {
					t.Fatal(err)
				}
				if name == "override" {
					for range 20 { // fails: the provider only leaves a file, and OpenTofu ends at the first that does, in any order
						_, _ = w.Plan(t.Context())
						if _, err = os.Stat(filepath.Join(home, "started")); err == nil {
							break
						}
					}
					if err != nil {
						t.Errorf("the override was not started: %v", err)
					}
				}
				cached, err := filepath.Glob(filepath.Join(os.Getenv("TF_PLUGIN_CACHE_DIR"), "providers.test", "*", "*", "*", platform))
				if name == "cache" && (err != nil || len(cached) > 0 == beside) { // ours would get there too: see cliConfig
					t.Errorf("the cache holds %v, %v", cached, err)
				}
			})
		}
	}
}

// started is a folder with an override that leaves a file in home.
func started(t *testing.T, home string) string {
	t.Helper()
	return filepath.Dir(put(t, filepath.Join(t.TempDir(), "terraform-provider-cloud"), "#!/bin/sh\n: >"+filepath.Join(home, "started")+"\n", 0o700))
}

// put writes a file and returns its name.
func put(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// networkMirror serves the team's provider by Terraform's protocol of network mirrors.
func networkMirror(t *testing.T, binary, platform string) (url string) {
	t.Helper()
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	f, err := z.CreateHeader(&zip.FileHeader{Name: binary, ExternalAttrs: 0o755 << 16})
	if err == nil {
		_, err = f.Write([]byte("#!/bin/sh\nexit 1\n"))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch strings.TrimPrefix(r.URL.Path, "/providers.test/team/cloud/") {
		case "index.json":
			fmt.Fprint(w, `{"versions": {"1.0.0": {}}}`)
		case "1.0.0.json":
			fmt.Fprintf(w, `{"archives": {%q: {"url": "cloud.zip"}}}`, platform)
		case "cloud.zip":
			w.Header().Set("Content-Type", "application/zip")
			_, _ = w.Write(archive.Bytes())
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	t.Setenv("SSL_CERT_FILE", put(t, filepath.Join(t.TempDir(), "ca.pem"), string(cert), 0o600))
	return server.URL
}
