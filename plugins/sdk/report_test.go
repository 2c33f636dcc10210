package sdk_test

import (
	"context"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// load is the picture that the agent of this example has of its host.
type load struct {
	Average float64 `json:"average"`
	Note    string  `json:"note,omitempty"`
}

// loadStage is a plugin whose agent reports the load of its host, and whose action status shows it.
func loadStage(measure func() load) sdk.Stage[nothing] {
	return sdk.Stage[nothing]{
		Name: "load", Version: "1.0.0", Capabilities: []sdk.Capability{sdk.Inventory, sdk.State},
		Agent: &sdk.Agent[nothing]{Watch: func(ctx context.Context, _ *nothing, job *sdk.Job) error {
			report := sdk.NewReport(ctx, job, "load", 5*time.Second)
			defer report.Close()
			for {
				report.Set(measure())
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(time.Second):
				}
			}
		}},
		Actions: []sdk.Action[nothing]{{Name: "status", Summary: "show the load of every host", Run: showLoad}},
	}
}

func showLoad(ctx context.Context, _ *nothing, _ sdk.Args, job *sdk.Job) error {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		var l load
		at, err := sdk.ReadReport(ctx, job, "load", h.Name, &l)
		if err != nil {
			return err
		}
		if at.IsZero() {
			job.Logf("%s: no report", h.Name)
			continue
		}
		job.Logf("%s: %.2f", h.Name, l.Average)
	}
	return nil
}

func ExampleReport() {
	_ = loadStage(func() load { return load{Average: 0.25} })
}

// TestReport runs the example's agent and its action over the real protocol.
func TestReport(t *testing.T) {
	fake := &sdktest.Fake{Hosts: []sdk.Host{{Name: "web-1"}, {Name: "web-2"}}}
	stage := loadStage(func() load { return load{Average: 0.25} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan sdktest.Result, 1)
	info := sdk.RunInfo{Stage: "load.hosts", Host: "web-1", StateDir: t.TempDir()}
	go func() { ended <- sdktest.Watch(ctx, t, stage, "", sdktest.Options{Info: info, Fake: fake}) }()
	var r sdktest.Result
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r = sdktest.Call(t, stage, "", "status", nil, sdktest.Options{Info: sdk.RunInfo{Stage: "load.hosts"}, Fake: fake})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if r.Logs[0] != "web-1: no report" {
			break
		}
	}
	cancel()
	if r := <-ended; r.Err != nil {
		t.Errorf("agent: %v", r.Err)
	}
	if len(r.Logs) != 2 || r.Logs[0] != "web-1: 0.25" || r.Logs[1] != "web-2: no report" {
		t.Errorf("shown %q", r.Logs)
	}
	fake.SetState(sdk.HostKey("web-2", "load/load.hosts"), []byte("rubbish"))
	r = sdktest.Call(t, stage, "", "status", nil, sdktest.Options{Info: sdk.RunInfo{Stage: "load.hosts"}, Fake: fake})
	if r.Err == nil {
		t.Error("a report that is not JSON was read")
	}
}
