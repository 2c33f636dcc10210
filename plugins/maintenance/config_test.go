package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"whole": {`
rule "app" {
  paths      = ["/var/log/storefront/*.log"]
  above      = "5MiB"
  older_than = "24h"
  free       = "20%"
  keep       = 1
}
rule "nginx" {
  paths  = ["/var/log/nginx/*.log"]
  above  = "1MiB"
  reopen = "signal"
  signal {
    send = "USR1"
    unit = "nginx.service"
  }
}
storage { role = "storage" }
quarantine = "1h"
`, ""},
		"no rule":         {``, "at least one rule"},
		"no condition":    {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n}", "above, older_than or free"},
		"database":        {"rule \"a\" {\n paths = [\"/var/lib/redis/dump.rdb\"]\n above = \"1MiB\"\n}", "could reach databases"},
		"application":     {"rule \"a\" {\n paths = [\"/opt/storefront/**\"]\n above = \"1MiB\"\n}", "the application's folder"},
		"two of a name":   {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n above = \"1MiB\"\n}\nrule \"a\" {\n paths = [\"/var/log/b.log\"]\n above = \"1MiB\"\n}", "two rules"},
		"reopen":          {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n above = \"1MiB\"\n reopen = \"hope\"\n}", "copytruncate"},
		"signal to whom":  {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n above = \"1MiB\"\n reopen = \"signal\"\n}", "unit or pid_file"},
		"goal":            {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n free = \"120%\"\n}", "less than 100%"},
		"compress":        {"compress = \"lzma\"\nrule \"a\" {\n paths = [\"/var/log/a.log\"]\n above = \"1MiB\"\n}", "zstd"},
		"unknown keyword": {"rule \"a\" {\n path = [\"/var/log/a.log\"]\n above = \"1MiB\"\n}", "path"},
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

const ruleBody = "rule \"app\" {\n  paths = [\"/var/log/storefront/*.log\"]\n  above = \"5MiB\"\n}\n"

func TestRunInstalls(t *testing.T) {
	fake := &sdktest.Fake{Hosts: []sdk.Host{
		{Name: "web-1", Role: "production"}, {Name: "canary-1", Role: "canary"}, {Name: "router-1", Role: "router"}, {Name: "storage-1", Role: "storage"},
	}}
	r := sdktest.Run(t, stage, ruleBody, sdktest.Options{Fake: fake})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if got := fake.Installed(); len(got) != 1 || !slices.Equal(got[0], sdk.HostNames("canary-1", "web-1")) {
		t.Errorf("installed on %v", got)
	}
	fake.Hosts = fake.Hosts[:2]
	if r := sdktest.Run(t, stage, ruleBody, sdktest.Options{Fake: fake}); r.Err == nil || !strings.Contains(r.Err.Error(), "no host of role storage") {
		t.Errorf("without a storage host: %v", r.Err)
	}
}

func TestChoose(t *testing.T) {
	now := time.Now()
	file := func(name string, size int64, age time.Duration) found {
		return found{path: name, id: fileID{Size: size, MTime: now.Add(-age)}}
	}
	files := []found{ // newest first, as list returns them
		file("new", 900, time.Minute), file("day", 100, 24*time.Hour), file("empty", 0, 30*time.Hour), file("old", 300, 48*time.Hour),
	}
	goal := func(s string) *freeGoal {
		var g freeGoal
		if err := g.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		return &g
	}
	for name, test := range map[string]struct {
		rule    ruleConfig
		fs      space
		pending int64
		want    string
		short   int64
	}{
		"by size":                      {ruleConfig{Above: 500}, space{}, 0, "new", 0},
		"by size, newest kept":         {ruleConfig{Above: 50, Keep: 1}, space{}, 0, "old day", 0},
		"by age":                       {ruleConfig{Older: sdk.Duration(25 * time.Hour)}, space{}, 0, "old", 0},
		"enough free":                  {ruleConfig{Free: goal("10%")}, space{1000, 100}, 0, "", 0},
		"the oldest is enough":         {ruleConfig{Free: goal("400B")}, space{1000, 100}, 0, "old", 0},
		"two are enough":               {ruleConfig{Free: goal("50%")}, space{1000, 100}, 0, "old day", 0},
		"what is on its way counts":    {ruleConfig{Free: goal("50%")}, space{1000, 100}, 200, "old", 0},
		"all are not enough":           {ruleConfig{Free: goal("99%")}, space{10000, 100}, 0, "old day new", 8500},
		"kept files do not count":      {ruleConfig{Free: goal("99%"), Keep: 1}, space{10000, 100}, 0, "old day", 9400},
		"what goes anyway counts once": {ruleConfig{Above: 500, Free: goal("50%")}, space{2000, 100}, 0, "new", 0},
	} {
		t.Run(name, func(t *testing.T) {
			ready, short := choose(test.rule, files, test.fs, test.pending, now)
			var got []string
			for _, f := range ready {
				got = append(got, f.path)
			}
			if s := strings.Join(got, " "); s != test.want || short != test.short {
				t.Errorf("got %q and %d missing, want %q and %d", s, short, test.want, test.short)
			}
		})
	}
}
