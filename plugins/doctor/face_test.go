package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// TestFaces runs the agent on this machine with leash, and the status action.
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

// TestTakesOver replaces an agent while alerts are open: the next one does not raise them again, and resolves each when
// its cause has gone.
func TestTakesOver(t *testing.T) {
	loop := busyLoop(t, hogUID, "up; while :; do :; done")
	favour(t, loop.Process.Pid)
	c := quick
	c.Treat = []string{"alert"}
	c.Host = &hostLimits{CPU: 0.001, For: sdk.Duration(500 * time.Millisecond)} // above it as long as the loop runs
	a, o := startDoctor(t, c, "production")
	hogAlert := func(o *told) *sdk.Event { return o.find("process.hog") }
	tend(t, a, patience, func() bool { return hogAlert(o) != nil && o.find("host.cpu") != nil }, loop.Process.Pid)
	a.emit(sdk.Event{Kind: "host.memory", Severity: sdk.Alert, Key: "host.memory:web-1"})
	if hogAlert(o) == nil || o.find("host.cpu") == nil {
		t.Fatalf("published %v, want alerts of the process and the host", o.kinds())
	}

	c.Host = &hostLimits{CPU: 1000, Memory: 1000, For: sdk.Duration(500 * time.Millisecond)} // never above it
	b, o := startDoctorIn(t, c, "production", a.info.StateDir)
	tend(t, b, 2*time.Second, func() bool { return false }, loop.Process.Pid)
	if e := hogAlert(o); e != nil {
		t.Errorf("published again: %s", e.Summary)
	}
	_ = loop.Process.Kill()
	_ = loop.Wait()
	tend(t, b, patience, func() bool { return hogAlert(o) != nil && len(b.alerts.Open()) == 0 })
	want := []string{"host.cpu/resolved", "host.memory/resolved", "process.hog/resolved"}
	if got := o.kinds(); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("published %v, want %v", got, want)
	}

	d, o := startDoctorIn(t, c, "production", a.info.StateDir)
	tend(t, d, 2*time.Second, func() bool { return false })
	if got := o.kinds(); len(got) != 0 {
		t.Errorf("published again: %v", got)
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
