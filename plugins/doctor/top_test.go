package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// TestTop shows two hosts twice: one whose agent sees a loop, and one without an agent.
func TestTop(t *testing.T) {
	loop := busyLoop(t, hogUID, "up; while :; do :; done")
	a, _ := startDoctor(t, config{Interval: quick.Interval, Leash: true}, "production")
	tend(t, a, 40*time.Second, func() bool {
		a.ranked = time.Time{}
		return len(a.report.Top) > 0
	}, loop.Process.Pid)
	value, err := json.Marshal(a.report)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := json.Marshal(map[string]any{"time": time.Now(), "value": json.RawMessage(value)})
	if err != nil {
		t.Fatal(err)
	}
	fake := &sdktest.Fake{Hosts: []sdk.Host{{Name: "web-1", Role: "production"}, {Name: "canary-1", Role: "canary"}, {Name: "router-1", Role: "router"}}}
	fake.SetState(sdk.HostKey("web-1", reportName+"/doctor.hosts"), picture)
	o := sdktest.Options{Info: sdk.RunInfo{Stage: "doctor.hosts"}, Fake: fake}
	r := sdktest.Call(t, stage, "", "top", map[string]string{"every": "1s", "count": "2"}, o)
	if r.Err != nil || len(r.Tables) != 2 {
		t.Fatalf("%d tables, %v", len(r.Tables), r.Err)
	}
	rows := r.Tables[1].Rows
	if len(rows) != 3 || rows[0][0] != "web-1" || !strings.Contains(rows[0][5], "cores") || !slices.Equal(rows[2][:2], []string{"canary-1", "never"}) {
		t.Fatalf("rows %q", rows)
	}
	if got := rows[1]; got[2] != strconv.Itoa(loop.Process.Pid) || got[3] != "hog" || got[4] == "" || !strings.HasSuffix(got[5], " %") {
		t.Errorf("the loop's row is %q", got)
	}
	for name, args := range map[string]map[string]string{
		"too often": {"every": "10ms", "count": "1"}, "no time": {"every": "x", "count": "1"}, "no number": {"every": "1s", "count": "-1"},
	} {
		if r := sdktest.Call(t, stage, "", "top", args, o); r.Err == nil || len(r.Tables) > 0 {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestCPUPressure has a host whose processes wait for a core: if the manifest asks for it, that is an alert which names who
// uses most.
func TestCPUPressure(t *testing.T) {
	loop := busyLoop(t, hogUID, "up; while :; do :; done")
	for limit, want := range map[float64][]string{60: {"host.cpu_pressure/alert", "host.cpu_pressure/resolved"}, 0: nil} {
		c := config{Interval: quick.Interval, Leash: true, CPU: &cpuLimit{Above: 1e5, For: sdk.Duration(time.Second)}, Memory: &memoryLimit{For: sdk.Duration(time.Second)}}
		c.Host = &hostLimits{CPU: 1000, Memory: 1000, Waiting: limit, For: sdk.Duration(time.Second)}
		a, o := startDoctor(t, c, "production")
		alarms := a.alarms
		a.alarms = nil                                                                             // not this machine's
		tend(t, a, 40*time.Second, func() bool { return len(a.report.Top) > 0 }, loop.Process.Pid) // who uses most is known
		a.alarms = alarms
		now := time.Now().Add(time.Hour)
		for i := range 20 {
			pressure := 90.0
			if i >= 10 {
				pressure = 10
			}
			a.ring(t.Context(), now.Add(time.Duration(i)*a.interval), sample.Host{Cores: 2, Strain: sample.Strain{CPUPressure: pressure}})
		}
		if got := o.kinds(); !slices.Equal(got, want) {
			t.Errorf("with a limit of %g: published %v, want %v", limit, got, want)
		}
		if e := o.find("host.cpu_pressure"); e != nil && (!strings.Contains(e.Summary, "waited for a core in 90 % of the time") || len(e.Data["top"].([]string)) != 1) {
			t.Errorf("alert %q, %v", e.Summary, e.Data)
		}
	}
}
