package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"nothing":         {``, ""},
		"as in the guide": {"cpu {\n above = 80\n for = \"10s\"\n}", ""},
		"all": {`
interval = "500ms"
cpu { above = 150 }
memory {
  above = 40
  for   = "1m"
}
host {
  cpu    = 50
  memory = 80
}
treat        = ["alert", "terminate"]
leash        = true
restart_unit = ["shop@a.service"]
budget { actions = 5 }
protect { users = ["batch"] }
`, ""},
		"a window of one sample": {"interval = \"10s\"\ncpu { for = \"10s\" }", "two intervals"},
		"unknown step":           {`treat = ["alert", "scold"]`, "scold"},
		"wrong order":            {`treat = ["alert", "kill", "terminate"]`, "too late"},
		"no alert":               {`treat = ["terminate"]`, "must be \"alert\""},
		"kill alone":             {`treat = ["alert", "kill"]`, "needs \"terminate\""},
		"above the host":         {`host { cpu = 160 }`, "at most 100"},
		"a pattern of units":     {`restart_unit = ["shop@*.service"]`, "full name"},
		"a relative executable":  {`protect { executables = ["run"] }`, "absolute"},
		"misspelt":               {`laesh = true`, "laesh"},
	} {
		t.Run(name, func(t *testing.T) {
			err := sdktest.Check(t, stage, test.body)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

func TestRunInstalls(t *testing.T) {
	fake := &sdktest.Fake{Hosts: []sdk.Host{{Name: "web-1", Role: "production"}, {Name: "canary-1", Role: "canary"}, {Name: "router-1", Role: "router"}}}
	r := sdktest.Run(t, stage, ``, sdktest.Options{Fake: fake})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if got := fake.Installed(); len(got) != 1 || !slices.Equal(got[0], sdk.HostNames("canary-1", "web-1")) {
		t.Errorf("installed on %v", got)
	}
}

func TestRestartSignal(t *testing.T) {
	for policy, want := range map[string]string{
		"always": "SIGTERM SIGKILL", "on-failure": "SIGKILL SIGKILL", "on-abnormal": "SIGKILL SIGKILL", "on-abort": "SIGABRT SIGABRT",
		"no": "", "on-success": "", "": "",
	} {
		first, err := restartSignal(policy, false)
		second, _ := restartSignal(policy, true)
		if want == "" {
			if err == nil {
				t.Errorf("Restart=%s: a signal although the unit would stay down", policy)
			}
			continue
		}
		if got := fmt.Sprintf("%s %s", unix.SignalName(first), unix.SignalName(second)); got != want {
			t.Errorf("Restart=%s: %s, want %s", policy, got, want)
		}
	}
}
