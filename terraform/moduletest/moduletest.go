// Package moduletest is the conformance suite of the root modules that ship with troop. Only tests import it.
package moduletest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/seed-b96de936/troop/core/terraform"
)

// Run runs the tests of the initialised module in dir: each *.tftest.hcl is a parallel subtest. The output "hosts" of every
// run must be valid, complete and not sensitive. env is Terraform's whole environment.
func Run(t *testing.T, dir string, env []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "tests", "*.tftest.hcl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	var seen atomic.Bool
	t.Cleanup(func() {
		if !seen.Load() && !t.Failed() {
			t.Error("no run knows the whole output")
		}
	})
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "terraform", "test", "-json", "-verbose", "-filter="+filepath.Join("tests", filepath.Base(file)))
			cmd.Dir, cmd.Env = dir, env
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			runs := 0
			for line := range bytes.Lines(out) {
				var m message
				if err := json.Unmarshal(line, &m); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				if m.Type == "diagnostic" && m.Diagnostic.Severity == "error" {
					t.Error(m.Diagnostic)
				}
				if m.Type == "test_run" && m.Test.Status != "" {
					runs++
				}
				hosts, known, secret := m.hosts()
				if secret {
					t.Errorf("run %s: the output is secret, so that no plan shows it", m.Run)
				} else if known {
					seen.Store(true)
					if err := checkHosts(hosts); err != nil {
						t.Errorf("run %s: %v", m.Run, err)
					}
				}
			}
			if err != nil || runs == 0 {
				t.Errorf("%d runs, %v\n%s", runs, err, stderr.Bytes())
			}
		})
	}
}

// message is a line of `terraform test -json -verbose`, reduced to the fields in use.
type message struct {
	Type       string
	Run        string     `json:"@testrun"`
	Diagnostic diagnostic `json:"diagnostic"`
	Test       struct {
		Status string
	} `json:"test_run"`
	State struct {
		Outputs map[string]struct {
			Value     json.RawMessage
			Sensitive bool
		}
	} `json:"test_state"`
	Plan struct {
		Changes map[string]struct {
			After     json.RawMessage
			Unknown   json.RawMessage `json:"after_unknown"`
			Sensitive json.RawMessage `json:"after_sensitive"`
		} `json:"output_changes"`
	} `json:"test_plan"`
}

// hosts returns the output "hosts", if the message has one. A plan may know only parts of it.
func (m *message) hosts() (output json.RawMessage, known, secret bool) {
	if hosts, ok := m.State.Outputs["hosts"]; ok {
		return hosts.Value, true, hosts.Sensitive
	}
	if hosts, ok := m.Plan.Changes["hosts"]; ok {
		return hosts.After, string(hosts.Unknown) == "false", string(hosts.Sensitive) != "false"
	}
	return nil, false, false
}

type diagnostic struct {
	Severity, Summary, Detail string
	Range                     struct {
		Filename string
		Start    struct{ Line int }
	}
}

func (d diagnostic) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", d.Range.Filename, d.Range.Start.Line, d.Summary, d.Detail)
}

// checkHosts checks the output against the contract. It is stricter than for other modules: ours must set every attribute.
func checkHosts(output []byte) error {
	if _, err := terraform.ParseHosts(output); err != nil {
		return err
	}
	var hosts map[string]map[string]any
	if err := json.Unmarshal(output, &hosts); err != nil {
		return err
	}
	for name, host := range hosts {
		for _, attribute := range []string{"role", "address", "private_address", "user", "port", "host_key", "tags", "vars"} {
			if _, ok := host[attribute]; !ok {
				return fmt.Errorf("host %s has no %s", name, attribute)
			}
		}
	}
	return nil
}
