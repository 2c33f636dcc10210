package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage/storagetest"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// sftpHere starts an SFTP server: the block of the manifest that says so, and the core that knows it.
func sftpHere(t *testing.T) (block string, fake *sdktest.Fake) {
	t.Helper()
	h := storagetest.New(t, t.TempDir())
	host, port, err := net.SplitHostPort(h.Target.Address)
	if err != nil {
		t.Fatal(err)
	}
	fake = &sdktest.Fake{
		Hosts: []sdk.Host{
			{Name: "web-1", Role: "production"}, {Name: "canary-1", Role: "canary"}, {Name: "storage-1", Role: "storage", PrivateAddress: host},
		},
		Storage: &sdk.StorageKey{PrivateKey: h.Target.PrivateKey, KnownHosts: h.Target.KnownHosts},
	}
	return "storage {\n  port = " + port + "\n  path = \"" + h.Target.Path + "\"\n}\n", fake
}

// bucketHere starts an S3 server with a bucket that has object lock.
func bucketHere(t *testing.T) (block string, fake *sdktest.Fake) {
	t.Helper()
	g := buckettest.Gateway(t)
	g.MakeBucket(t, "shop-backups", true)
	fake = &sdktest.Fake{
		Hosts:   []sdk.Host{{Name: "web-1", Role: "production"}, {Name: "canary-1", Role: "canary"}},
		Storage: &sdk.StorageKey{AccessKeyID: buckettest.AccessKey, SecretAccessKey: buckettest.SecretKey},
	}
	return fmt.Sprintf("storage {\n s3 {\n bucket = \"shop-backups\"\n region = %q\n endpoint = %q\n path_style = true\n lock { days = 1 }\n}\n}\n", g.Region, g.Endpoint), fake
}

// onThisMachine is the stage whose agent moves files of the folder logs, and its manifest.
func onThisMachine(logs, block string) (here sdk.Stage[config], body string) {
	// The agent of this test may also move files of a temporary folder.
	here = stage
	here.Check = nil
	agent := *stage.Agent
	agent.Watch = func(ctx context.Context, c *config, job *sdk.Job) error {
		return watchIn(ctx, c, job, rule.Places{Secondary: []string{logs}})
	}
	here.Agent = &agent
	body = "interval = \"1s\"\n" + block +
		"rule \"app\" {\n  paths = [\"" + logs + "/*.log\"]\n  above = \"1KiB\"\n}\n"
	return here, body
}

// TestFaces runs the agent of one host through the SDK, with a real SFTP server and a real S3 server, and the actions of an
// operator: list, search, restore, drill, rebuild and status.
func TestFaces(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (string, *sdktest.Fake){"sftp": sftpHere, "s3": bucketHere} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			block, fake := start(t)
			testFaces(t, block, fake)
		})
	}
}

func testFaces(t *testing.T, block string, fake *sdktest.Fake) {
	t.Helper()
	dir := t.TempDir()
	logs := filepath.Join(dir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	here, body := onThisMachine(logs, block)
	file := filepath.Join(logs, "app.log")
	if err := os.WriteFile(file, []byte(longLog), 0o600); err != nil {
		t.Fatal(err)
	}
	info := sdk.RunInfo{Stage: "maintenance.logs", Environment: "lab", Host: "web-1", Role: "production", StateDir: filepath.Join(dir, "state")}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan sdktest.Result, 1)
	go func() { ended <- sdktest.Watch(ctx, t, here, body, sdktest.Options{Info: info, Fake: fake}) }()
	stop := func() {
		cancel()
		if r := <-ended; r.Err != nil {
			t.Errorf("agent: %v", r.Err)
		}
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})

	core := sdktest.Options{Info: sdk.RunInfo{Stage: "maintenance.logs", Environment: "lab"}, Fake: fake}
	table := func(action string, args map[string]string) [][]string {
		t.Helper()
		r := sdktest.Call(t, here, body, action, args, core)
		if r.Err != nil {
			t.Fatalf("%s: %v", action, r.Err)
		}
		if len(r.Tables) != 1 {
			t.Fatalf("%s: %d tables", action, len(r.Tables))
		}
		return r.Tables[0].Rows
	}
	var list [][]string
	for deadline := time.Now().Add(20 * time.Second); len(list) == 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		list = table("restore", nil)
	}
	if len(list) != 1 || list[0][1] != "web-1" || list[0][2] != file {
		t.Fatalf("receipts: %v", list)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the file is still here")
	}
	if rows := table("restore", map[string]string{"host": "canary-1"}); len(rows) != 0 {
		t.Errorf("receipts of another host: %v", rows)
	}
	r := sdktest.Call(t, here, body, "restore", map[string]string{"receipt": list[0][0]}, core)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if b, err := os.ReadFile(file + ".restored"); err != nil || string(b) != longLog {
		t.Errorf("restored %d bytes, %v", len(b), err)
	}
	if r := sdktest.Call(t, here, body, "restore", map[string]string{"receipt": list[0][0]}, core); r.Err == nil || !strings.Contains(r.Err.Error(), "exists") {
		t.Errorf("restored over a file: %v", r.Err)
	}
	if r := sdktest.Call(t, here, body, "restore", map[string]string{"receipt": "01J"}, core); r.Err == nil {
		t.Error("restored an unknown receipt")
	}
	if rows := table("drill", map[string]string{"count": "2"}); len(rows) != 1 || rows[0][4] != "intact" {
		t.Errorf("drill: %v", rows)
	}
	if rows := table("rebuild", map[string]string{"host": "web-1"}); len(rows) != 1 || !slices.Equal(rows[0], []string{"web-1", "1", "0", "0", "done"}) {
		t.Errorf("rebuild: %v", rows)
	}
	if rows := table("restore", map[string]string{"host": "web-1", "file": "app", "since": "2020-01-01"}); len(rows) != 1 || rows[0][0] != list[0][0] {
		t.Errorf("search: %v", rows)
	}
	rows := table("status", nil)
	if len(rows) != 2 || !slices.Equal(rows[0][:2], []string{"web-1", "production"}) || rows[1][2] != "never" {
		t.Errorf("status: %v", rows)
	}
	var kinds []string
	for _, e := range fake.Published() {
		kinds = append(kinds, e.Kind)
	}
	if !slices.Equal(kinds, []string{"file.moved", "file.restored", "drill.passed"}) {
		t.Errorf("published %v", kinds)
	}
	stopped = true
	stop()
}

func TestConformance(t *testing.T) {
	b := sdktest.Binary{
		Valid:   "rule \"app\" {\n  paths = [\"/var/log/shop/*.log\"]\n  above = \"5MiB\"\n}",
		Invalid: map[string]string{``: "Invalid maintenance stage", `rules "a" {}`: `Did you mean "rule"?`},
		Cancel:  true,
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage, b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "maintenance"), b) })
}
