package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// verdict is a judge with one answer.
type verdict struct{ s *spared }

func (v verdict) Judge(facts) *spared { return v.s }

var (
	isRoot   = &spared{ruleRoot, "it runs as root"}
	isSystem = &spared{ruleSystem, "its user storefront is a system user"}
)

// treatment runs a hog through a policy for so many seconds, one sample a second, and writes down what was told.
func treatment(t *testing.T, p *policy, seconds int, f facts, factsErr error) []string {
	t.Helper()
	var got []string
	at := time.Unix(1000, 0)
	h := hog{ident: f.ident, Resource: "cpu", Value: 99, Limit: 80}
	for s := range seconds {
		now := at.Add(time.Duration(s) * time.Second)
		for _, pt := range p.Due(now, []hog{h}) {
			d := p.Decide(now, pt, f, factsErr)
			switch {
			case d.act && d.again:
				got = append(got, fmt.Sprintf("%d %s again", s, d.step))
			case d.act:
				got = append(got, fmt.Sprintf("%d %s", s, d.step))
			case d.tell:
				got = append(got, fmt.Sprintf("%d spared: %s", s, d.spared.Rule))
			}
		}
	}
	return got
}

func testPolicy(t *testing.T, c config, role string, j judge) *policy {
	t.Helper()
	p, err := newPolicy(filled(c), role, j)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTreatment(t *testing.T) {
	app := person()
	app.Unit = "shop@a.service"
	restart := config{RestartUnit: []string{"shop@a.service"}}
	for name, test := range map[string]struct {
		config config
		role   string
		judge  *spared
		err    error
		want   []string
	}{
		"the whole ladder":          {config{}, "production", nil, nil, []string{"0 alert", "2 renice", "4 terminate", "9 kill"}},
		"only told":                 {config{Treat: []string{"alert"}}, "production", nil, nil, []string{"0 alert"}},
		"no kill":                   {config{Treat: []string{"alert", "terminate"}}, "production", nil, nil, []string{"0 alert", "2 terminate"}},
		"root's":                    {config{}, "production", isRoot, nil, []string{"0 alert", "2 spared: root"}},
		"cannot be examined":        {config{}, "production", nil, errors.New("permission denied"), []string{"0 alert", "2 spared: cannot be judged"}},
		"on the leash":              {config{Leash: true}, "production", nil, nil, []string{"0 alert", "2 spared: leash"}},
		"no budget at all":          {config{Budget: &budgetConfig{Per: sdk.Duration(time.Hour)}}, "production", nil, nil, []string{"0 alert", "2 spared: budget"}},
		"the budget ends":           {config{Budget: &budgetConfig{Actions: 2, Per: sdk.Duration(time.Hour)}}, "production", nil, nil, []string{"0 alert", "2 renice", "4 terminate", "9 spared: budget"}},
		"the budget comes back":     {config{Budget: &budgetConfig{Actions: 1, Per: sdk.Duration(6 * time.Second)}}, "production", nil, nil, []string{"0 alert", "2 renice", "4 spared: budget", "8 terminate", "13 spared: budget", "15 kill"}},
		"the application's":         {config{}, "production", isSystem, nil, []string{"0 alert", "2 spared: system user"}},
		"a unit that may restart":   {restart, "production", isSystem, nil, []string{"0 alert", "2 restart", "7 restart again"}},
		"the same, of the canary":   {restart, "canary", isSystem, nil, []string{"0 alert", "2 spared: canary"}},
		"the same, on the leash":    {config{RestartUnit: restart.RestartUnit, Leash: true}, "production", isSystem, nil, []string{"0 alert", "2 spared: leash"}},
		"a unit, and only alerts":   {config{RestartUnit: restart.RestartUnit, Treat: []string{"alert", "renice"}}, "production", isSystem, nil, []string{"0 alert", "2 spared: system user"}},
		"root in a named unit":      {restart, "production", isRoot, nil, []string{"0 alert", "2 spared: root"}},
		"a user's, in a named unit": {restart, "production", nil, nil, []string{"0 alert", "2 renice", "4 terminate", "9 kill"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy(t, test.config, test.role, verdict{test.judge})
			if got := treatment(t, p, 20, app, test.err); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestReturns has the same program come back under new pids: after the third treatment it is only told of.
func TestReturns(t *testing.T) {
	p := testPolicy(t, config{Treat: []string{"alert", "terminate"}}, "production", verdict{})
	for n := 1; n <= 5; n++ {
		f := person()
		f.PID += n
		want := []string{"0 alert", "2 terminate"}
		if n > maxReturns {
			want = []string{"0 alert", "2 spared: came back"}
		}
		if got := treatment(t, p, 4, f, nil); !slices.Equal(got, want) {
			t.Errorf("time %d: got %q, want %q", n, got, want)
		}
	}
	f := person()
	f.Executable = "/usr/bin/other"
	f.PID = 999
	if got := treatment(t, p, 4, f, nil); !slices.Equal(got, []string{"0 alert", "2 terminate"}) {
		t.Errorf("another program: %q", got)
	}
}

func TestRecovered(t *testing.T) {
	p := testPolicy(t, config{}, "production", verdict{})
	f := person()
	treatment(t, p, 3, f, nil)
	at := time.Unix(1000, 0)
	alive := func(ident) bool { return true }
	if got := p.Recovered(at.Add(5*time.Second), alive); len(got) != 0 {
		t.Error("well again after three calm seconds, want ten")
	}
	if got := p.Recovered(at.Add(13*time.Second), alive); len(got) != 1 || len(p.patients) != 0 {
		t.Errorf("%d well again, %d patients left", len(got), len(p.patients))
	}
	treatment(t, p, 3, f, nil)
	if got := p.Recovered(at.Add(3*time.Second), func(ident) bool { return false }); len(got) != 1 {
		t.Error("a process that has ended is still a patient")
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
		if got := fmt.Sprintf("%s %s", signalName(first), signalName(second)); got != want {
			t.Errorf("Restart=%s: %s, want %s", policy, got, want)
		}
	}
}

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
