package ladder

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
)

// verdict is a judge that always gives the same answer.
type verdict struct{ s *protect.Spared }

func (v verdict) Judge(process.Facts) *protect.Spared { return v.s }

var (
	isRoot   = &protect.Spared{Rule: protect.RuleRoot, Reason: "it runs as root"}
	isSystem = &protect.Spared{Rule: protect.RuleSystem, Reason: "its user storefront is a system user"}
)

// treatment runs a hog through a policy with one sample a second, and returns what is published.
func treatment(t *testing.T, p *Policy, seconds int, f process.Facts, factsErr error) []string {
	t.Helper()
	var got []string
	at := time.Unix(1000, 0)
	h := limit.Hog{Ident: f.Ident, Resource: "cpu", Value: 99, Limit: 80}
	for s := range seconds {
		now := at.Add(time.Duration(s) * time.Second)
		for _, pt := range p.Due(now, []limit.Hog{h}) {
			d := p.Decide(now, pt, f, factsErr)
			switch {
			case d.Act && d.Again:
				got = append(got, fmt.Sprintf("%d %s again", s, d.Step))
			case d.Act:
				got = append(got, fmt.Sprintf("%d %s", s, d.Step))
			case d.Tell:
				got = append(got, fmt.Sprintf("%d spared: %s", s, d.Spared.Rule))
			}
		}
	}
	return got
}

// testPolicy is the policy of an empty manifest, with changes.
func testPolicy(j Judge, change func(*Config)) *Policy {
	c := Config{
		Steps: []Step{Alert, Renice, Terminate, Kill}, Pause: 2 * time.Second, Grace: 5 * time.Second,
		Actions: 20, Per: 10 * time.Minute, Calm: map[string]time.Duration{"cpu": 10 * time.Second},
	}
	if change != nil {
		change(&c)
	}
	return New(c, j)
}

// person is a process of a normal user.
func person() process.Facts {
	return process.Facts{
		Ident: process.Ident{PID: 500, Start: 77}, Executable: "/home/bob/loop", UIDs: []uint32{1001, 1001, 1001, 1001},
		User: "bob", Unit: "session-3.scope",
	}
}

func TestTreatment(t *testing.T) {
	restart := func(c *Config) { c.RestartUnits = []string{"shop@a.service"} }
	app := person()
	app.Unit = "shop@a.service"
	for name, test := range map[string]struct {
		change func(*Config)
		judge  *protect.Spared
		err    error
		want   []string
	}{
		"the whole ladder":          {nil, nil, nil, []string{"0 alert", "2 renice", "4 terminate", "9 kill"}},
		"only told":                 {func(c *Config) { c.Steps = []Step{Alert} }, nil, nil, []string{"0 alert"}},
		"no kill":                   {func(c *Config) { c.Steps = []Step{Alert, Terminate} }, nil, nil, []string{"0 alert", "2 terminate"}},
		"root's":                    {nil, isRoot, nil, []string{"0 alert", "2 spared: root"}},
		"cannot be examined":        {nil, nil, errors.New("permission denied"), []string{"0 alert", "2 spared: cannot be judged"}},
		"on the leash":              {func(c *Config) { c.Leash = true }, nil, nil, []string{"0 alert", "2 spared: leash"}},
		"no budget at all":          {func(c *Config) { c.Actions = 0 }, nil, nil, []string{"0 alert", "2 spared: budget"}},
		"the budget ends":           {func(c *Config) { c.Actions = 2 }, nil, nil, []string{"0 alert", "2 renice", "4 terminate", "9 spared: budget"}},
		"the budget comes back":     {func(c *Config) { c.Actions, c.Per = 1, 6*time.Second }, nil, nil, []string{"0 alert", "2 renice", "4 spared: budget", "8 terminate", "13 spared: budget", "15 kill"}},
		"the application's":         {nil, isSystem, nil, []string{"0 alert", "2 spared: system user"}},
		"a unit that may restart":   {restart, isSystem, nil, []string{"0 alert", "2 restart", "7 restart again"}},
		"the same, of the canary":   {func(c *Config) { restart(c); c.Canary = true }, isSystem, nil, []string{"0 alert", "2 spared: canary"}},
		"the same, on the leash":    {func(c *Config) { restart(c); c.Leash = true }, isSystem, nil, []string{"0 alert", "2 spared: leash"}},
		"a unit, and only alerts":   {func(c *Config) { restart(c); c.Steps = []Step{Alert, Renice} }, isSystem, nil, []string{"0 alert", "2 spared: system user"}},
		"root in a named unit":      {restart, isRoot, nil, []string{"0 alert", "2 spared: root"}},
		"a user's, in a named unit": {restart, nil, nil, []string{"0 alert", "2 renice", "4 terminate", "9 kill"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy(verdict{test.judge}, test.change)
			if got := treatment(t, p, 20, app, test.err); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestReturns starts the same program again under new pids: after the third treatment there are only alerts.
func TestReturns(t *testing.T) {
	p := testPolicy(verdict{}, func(c *Config) { c.Steps = []Step{Alert, Terminate} })
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
	p := testPolicy(verdict{}, nil)
	f := person()
	treatment(t, p, 3, f, nil)
	at := time.Unix(1000, 0)
	alive := func(process.Ident) bool { return true }
	if got := p.Recovered(at.Add(5*time.Second), alive); len(got) != 0 {
		t.Error("well again after three calm seconds, want ten")
	}
	if got := p.Recovered(at.Add(13*time.Second), alive); len(got) != 1 || len(p.patients) != 0 {
		t.Errorf("%d well again, %d patients left", len(got), len(p.patients))
	}
	treatment(t, p, 3, f, nil)
	if got := p.Recovered(at.Add(3*time.Second), func(process.Ident) bool { return false }); len(got) != 1 {
		t.Error("a process that has ended is still a patient")
	}
}
