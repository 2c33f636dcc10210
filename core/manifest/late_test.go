package manifest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/seed-b96de936/troop/core"
)

// TestLateValues: what only a plugin knows is the same text in every run, wherever an expression names it.
func TestLateValues(t *testing.T) {
	p := loadText(t, `
pipeline "p" {
  source { path = "." }
}
stage "test" "unit" {
  command = ["x", service.db.port]
  env     = { URL = format("redis://127.0.0.1:%s", service.db.port), PLAIN = "port ${service.db.port}" }
  service "db" {
    command = ["redis-server", "--port", port]
    ready   = tcp(port)
  }
  cache {
    paths = ["~/.npm"]
    key   = "v1-${filehash("package-lock.json")}"
  }
}
`)
	s := p.Stages[0]
	values, body := arguments(t, s, nil)
	for name, want := range map[string]string{"command": `["x","{troop:port:db}"]`, "env": `{"PLAIN":"port {troop:port:db}","URL":"redis://127.0.0.1:{troop:port:db}"}`} {
		got, err := ctyjson.Marshal(values[name], values[name].Type())
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, want)
		}
	}
	if len(body.Blocks) != 2 {
		t.Fatalf("%d blocks", len(body.Blocks))
	}
	var scope map[string]any
	if err := json.Unmarshal(scopeJSON(t, s, "lab", nil), &scope); err != nil {
		t.Fatal(err)
	}
	if scope["port"] != core.Late(core.LatePort, "") {
		t.Errorf("port is %v", scope["port"])
	}
	found := map[string]bool{}
	for _, v := range scope {
		if text, ok := v.(string); ok {
			found[text] = true
		}
	}
	for _, want := range []string{"tcp://127.0.0.1:{troop:port:}", "{troop:filehash:package-lock.json}"} {
		if !found[want] {
			t.Errorf("no %s in %v", want, scope)
		}
	}
}

func TestLateMistakes(t *testing.T) {
	for body, want := range map[string]string{
		`command = [port]`: `There is no value "port"`,
		"command = [service.a.port]\nservice \"b\" {\n command = [port]\n}": `This stage has no service "a".`,
		"command = [service.b.host]\nservice \"b\" {\n command = [port]\n}": "service.b.port",
		"command = [service.b.port]":                                        `There is no value "service`,
		`command = [filehash("../x")]`:                                      "want the path of a file of the commit",
	} {
		file := filepath.Join(t.TempDir(), "pipeline.hcl")
		if err := os.WriteFile(file, []byte("pipeline \"p\" {\n source { path = \".\" }\n}\nstage \"a\" \"b\" {\n"+body+"\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, sources, diags := Load(file, Options{})
		if got := Format(diags, sources, false); !strings.Contains(got, want) {
			t.Errorf("%s\ngot %s\nwant %s", body, got, want)
		}
	}
}
