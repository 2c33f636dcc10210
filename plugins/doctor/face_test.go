package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// TestFaces runs the agent on this machine, on the leash, and asks for its status as an operator does.
func TestFaces(t *testing.T) {
	fake := &sdktest.Fake{Hosts: []sdk.Host{{Name: "web-1", Role: "production"}, {Name: "canary-1", Role: "canary"}, {Name: "router-1", Role: "router"}}}
	body := "leash = true\ninterval = \"250ms\"\n"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan sdktest.Result, 1)
	info := sdk.RunInfo{Stage: "doctor.hosts", Environment: "lab", Host: "web-1", Role: "production", StateDir: filepath.Join(t.TempDir(), "new")}
	go func() { ended <- sdktest.Watch(ctx, t, stage, body, sdktest.Options{Info: info, Fake: fake}) }()
	var rows [][]string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		r := sdktest.Call(t, stage, body, "status", nil, sdktest.Options{Info: sdk.RunInfo{Stage: "doctor.hosts"}, Fake: fake})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if rows = r.Tables[0].Rows; rows[0][2] != "never" {
			break
		}
	}
	cancel()
	if r := <-ended; r.Err != nil {
		t.Errorf("agent: %v", r.Err)
	}
	if len(rows) != 2 || rows[0][0] != "web-1" || rows[1][2] != "never" {
		t.Fatalf("status: %v", rows)
	}
	if !strings.Contains(rows[0][3], "cores") || !strings.HasSuffix(rows[0][4], "%") || rows[0][5] == "0" {
		t.Errorf("status of a host with an agent: %v", rows[0])
	}
}

// TestTakesOver has an agent die while an alert stands: the next one takes it back.
func TestTakesOver(t *testing.T) {
	a, _ := startDoctor(t, quick, "production")
	a.tell(sdk.Event{Kind: "host.cpu", Severity: sdk.Alert, Key: "host.cpu:web-1"})
	a.tell(sdk.Event{Kind: "host.memory", Severity: sdk.Alert, Key: "host.memory:web-1"})
	a.tell(sdk.Event{Kind: "host.memory", Severity: sdk.Resolved, Key: "host.memory:web-1"})
	b, o := startDoctor(t, quick, "production")
	b.info.StateDir = a.info.StateDir
	b.takeOver()
	if got := o.kinds(); len(got) != 1 || got[0] != "host.cpu/resolved" || o.events[0].Key != "host.cpu:web-1" {
		t.Errorf("told %v, want the CPU alert taken back", got)
	}
	c, o := startDoctor(t, quick, "production")
	c.info.StateDir = a.info.StateDir
	c.takeOver()
	if got := o.kinds(); len(got) != 0 {
		t.Errorf("taken back twice: %v", got)
	}
}

func TestConformance(t *testing.T) {
	b := sdktest.Binary{
		Valid:   "leash = true",
		Invalid: map[string]string{`treat = ["hug"]`: "Invalid doctor stage", `leesh = true`: `Did you mean "leash"?`},
		Cancel:  true,
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage, b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "doctor"), b) })
}
