package ladder

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	return treatHog(p, seconds, limit.Hog{Ident: f.Ident, Resource: "cpu", Value: 99, Limit: 80}, f, factsErr)
}

func treatHog(p *Policy, seconds int, h limit.Hog, f process.Facts, factsErr error) []string {
	var got []string
	at := time.Unix(1000, 0)
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
	return New(c, j, Memory{})
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

// TestLateSamples has an agent that comes to look every few seconds only: a hog that was limited is not one that was calm
// and came back.
func TestLateSamples(t *testing.T) {
	p := testPolicy(verdict{}, func(c *Config) { c.Steps = []Step{Alert, Limit, Terminate} })
	h := limit.Hog{Ident: person().Ident, Resource: "cpu"}
	var got []string
	for _, second := range []int64{0, 3, 8, 12, 18, 23} { // the next step of a limited hog is due after 20 s
		at := time.Unix(1000+second, 0)
		for _, pt := range p.Due(at, []limit.Hog{h}) {
			got = append(got, fmt.Sprintf("%d %s", second, p.Decide(at, pt, person(), nil).Step))
		}
	}
	if want := []string{"0 alert", "3 limit", "23 terminate"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRecovered(t *testing.T) {
	p := testPolicy(verdict{}, nil)
	f := person()
	treatment(t, p, 3, f, nil)
	at := time.Unix(1000, 0)
	alive := func(limit.Hog) bool { return true }
	if got := p.Recovered(at.Add(11*time.Second), alive); len(got) != 0 {
		t.Error("well again after nine calm seconds, want twenty: it was reniced")
	}
	if got := p.Recovered(at.Add(23*time.Second), alive); len(got) != 1 || len(p.patients) != 0 {
		t.Errorf("%d well again, %d patients left", len(got), len(p.patients))
	}
	treatment(t, p, 3, f, nil)
	if got := p.Recovered(at.Add(3*time.Second), func(limit.Hog) bool { return false }); len(got) != 1 {
		t.Error("a process that has ended is still a patient")
	}
}

// phases runs a hog through a policy, one letter a second: h is a hog, . is below its limit.
func phases(p *Policy, from time.Time, seconds string, f process.Facts) []string {
	var got []string
	h := limit.Hog{Ident: f.Ident, Resource: "cpu", Value: 99, Limit: 80}
	for s, phase := range seconds {
		now := from.Add(time.Duration(s) * time.Second)
		var hogs []limit.Hog
		if phase == 'h' {
			hogs = append(hogs, h)
		}
		for _, pt := range p.Due(now, hogs) {
			if d := p.Decide(now, pt, f, nil); d.Act {
				got = append(got, fmt.Sprintf("%d %s", s, d.Step))
			} else if d.Tell {
				got = append(got, fmt.Sprintf("%d spared: %s", s, d.Spared.Rule))
			}
		}
		for range p.Recovered(now, func(limit.Hog) bool { return true }) {
			got = append(got, fmt.Sprintf("%d recovered", s))
		}
	}
	return got
}

// TestCalmPhase has a process that ignores SIGTERM, is below its limit for a while, and goes on: it is killed at once, and
// its alert stays open.
func TestCalmPhase(t *testing.T) {
	p := testPolicy(verdict{}, nil)
	got := phases(p, time.Unix(1000, 0), "hhhhh"+strings.Repeat(".", 15)+"hhhhh", person())
	want := []string{"0 alert", "2 renice", "4 terminate", "20 kill"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// One that is calm for so long that its alert is resolved is known for as long as the budget counts.
	p = testPolicy(verdict{}, nil)
	got = phases(p, time.Unix(1000, 0), "hhhhh"+strings.Repeat(".", 40)+"hhhhh", person())
	want = []string{"0 alert", "2 renice", "4 terminate", "34 recovered", "45 alert", "47 kill"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// Without a kill the last step is taken again, and after the third treatment there are only alerts.
	p = testPolicy(verdict{}, func(c *Config) { c.Steps = []Step{Alert, Terminate} })
	got = phases(p, time.Unix(1000, 0), strings.Repeat("hhh"+strings.Repeat(".", 12), 4), person())
	want = []string{"0 alert", "2 terminate", "15 terminate", "30 terminate", "45 spared: came back", "57 recovered"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// A long time later it is a hog like any other.
	got = phases(p, time.Unix(5000, 0), "hhh", person())
	if want := []string{"0 alert", "2 terminate"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestComesBack has a process that was reniced, is calm, and goes on: what did not help is not repeated.
func TestComesBack(t *testing.T) {
	p := testPolicy(verdict{}, nil)
	got := phases(p, time.Unix(1000, 0), "hhh......h......hhhhhh", person())
	if want := []string{"0 alert", "2 renice", "9 terminate", "16 kill"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// The nice value from before is given back in the end, once.
	h := limit.Hog{Ident: person().Ident, Resource: "cpu"}
	p.Niced(h, h.Ident, 5)
	p.Niced(h, h.Ident, 19)
	list := p.Recovered(time.Unix(2000, 0), func(limit.Hog) bool { return true })
	if len(list) != 1 || list[0].Nice["500@77"] != 5 || len(p.Memory().Niced) != 0 {
		t.Errorf("recovered %+v, still niced %v", list, p.Memory().Niced)
	}
}

// TestSwarmGoesOn has a swarm of a user whose ended processes are replaced at once, so that it is never below its limit:
// the last step is taken again when a window has passed, three times in all. A process that SIGKILL does not end, such as
// one that waits for a disk, is not killed again.
func TestSwarmGoesOn(t *testing.T) {
	for name, test := range map[string]struct {
		hog  limit.Hog
		want []string
	}{
		"a swarm":   {limit.Hog{UID: 1001, Resource: "cpu", Window: 10 * time.Second}, []string{"0 alert", "2 terminate", "7 kill", "17 kill", "27 kill", "37 spared: came back"}},
		"a process": {limit.Hog{Ident: person().Ident, Resource: "cpu", Window: 10 * time.Second}, []string{"0 alert", "2 terminate", "7 kill"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy(verdict{}, func(c *Config) { c.Steps = []Step{Alert, Terminate, Kill} })
			if got := treatHog(p, 60, test.hog, person(), nil); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestSuccessor has a hog whose program was ended, as another process: one that began then, as an answer to SIGTERM, is
// killed; one that ran beside the first, or that somebody started later, gets SIGTERM.
func TestSuccessor(t *testing.T) {
	for name, test := range map[string]struct {
		began int // seconds after SIGTERM; the alert is 12 s after it
		want  string
	}{
		"an answer":   {0, "kill"},
		"a late one":  {5, "kill"},
		"beside":      {-3, "terminate"},
		"by somebody": {6, "terminate"},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy(verdict{}, func(c *Config) { c.Steps = []Step{Alert, Terminate, Kill} })
			treatment(t, p, 3, person(), nil) // SIGTERM in second 2
			f := person()
			f.PID++
			h := limit.Hog{Ident: f.Ident, Resource: "cpu"}
			var got []string
			for second := 14; second < 17; second++ {
				f.Age = time.Duration(second-2-test.began) * time.Second
				now := time.Unix(int64(1000+second), 0)
				for _, pt := range p.Due(now, []limit.Hog{h}) {
					got = append(got, string(p.Decide(now, pt, f, nil).Step))
				}
			}
			if want := []string{"alert", test.want}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestNiceAlready has a hog that runs at nice 19: renicing it is no act.
func TestNiceAlready(t *testing.T) {
	f := person()
	f.Nice = 19
	p := testPolicy(verdict{}, func(c *Config) { c.Actions = 1 })
	if got, want := treatment(t, p, 20, f, nil), []string{"0 alert", "2 terminate", "7 spared: budget"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	p = testPolicy(verdict{}, func(c *Config) { c.Steps = []Step{Alert, Renice} })
	if got, want := treatment(t, p, 20, f, nil), []string{"0 alert"}; !slices.Equal(got, want) || len(p.Memory().Spent) != 0 {
		t.Errorf("got  %q\nwant %q; budget spent: %v", got, want, p.Memory().Spent)
	}
}

// TestMemory restarts the agent after every second of a treatment: each step is taken once, and the budget goes on.
func TestMemory(t *testing.T) {
	budget := func(c *Config) { c.Actions = 2 }
	p := testPolicy(verdict{}, budget)
	f := person()
	at := time.Unix(1000, 0)
	h := limit.Hog{Ident: f.Ident, Resource: "cpu", Value: 99, Limit: 80}
	var got []string
	for s := range 12 {
		now := at.Add(time.Duration(s) * time.Second)
		for _, pt := range p.Due(now, []limit.Hog{h}) {
			switch d := p.Decide(now, pt, f, nil); {
			case d.Act:
				got = append(got, string(d.Step))
			case d.Tell && len(got) > 0 && got[len(got)-1] != string(d.Spared.Rule):
				got = append(got, string(d.Spared.Rule))
			}
		}
		b, err := json.Marshal(p.Memory())
		if err != nil {
			t.Fatal(err)
		}
		var m Memory
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		c := p.config
		p = New(c, verdict{}, m)
		p.Adopt(now, h, process.Facts{Ident: f.Ident}) // its alert is open
	}
	if want := []string{"alert", "renice", "terminate", "budget"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestLimit has a hog that stays one although it is limited: the next step waits until a window has shown that. A limited
// process that wants more does not recover. Neither limit nor renice is of use against memory.
func TestLimit(t *testing.T) {
	steps := func(c *Config) { c.Steps = []Step{Alert, Renice, Limit, Terminate} }
	p := testPolicy(verdict{}, steps)
	if got, want := treatment(t, p, 40, person(), nil), []string{"0 alert", "2 renice", "4 limit", "24 terminate"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	p = testPolicy(verdict{}, steps)
	treatment(t, p, 5, person(), nil)
	h := limit.Hog{Ident: person().Ident, Resource: "cpu"}
	alive := func(limit.Hog) bool { return true }
	p.Wants(time.Unix(2000, 0), h.Key())
	if list := p.Recovered(time.Unix(2001, 0), alive); len(list) > 0 {
		t.Errorf("recovered: %+v", list[0])
	}
	if past := p.Memory().Past[h.Key()].Done; slices.Contains(past, Limit) {
		t.Errorf("the next agent would not limit it again: %v", past)
	}
	if list := p.Recovered(time.Unix(2100, 0), alive); len(list) != 1 {
		t.Errorf("%d recovered, want 1", len(list))
	}
	p = testPolicy(verdict{}, steps)
	h.Resource = "memory"
	var got []Step
	for s := range 10 {
		now := time.Unix(int64(3000+s), 0)
		for _, pt := range p.Due(now, []limit.Hog{h}) {
			got = append(got, p.Decide(now, pt, person(), nil).Step)
		}
	}
	if want := []Step{Alert, Terminate}; !slices.Equal(got, want) {
		t.Errorf("against memory %v, want %v", got, want)
	}
	if _, err := Parse([]string{"alert", "terminate", "limit"}); err == nil {
		t.Error("a limit after the end of the process is accepted")
	}
}
