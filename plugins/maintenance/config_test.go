package main

import (
	"slices"
	"strings"
	"testing"

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
		"bucket": {ruleBody + `
storage {
  s3 {
    bucket   = "shop-backups"
    prefix   = "backups/shop"
    region   = "eu-central-1"
    endpoint = "https://s3.example.com"
    lock { days = 90 }
  }
}
`, ""},
		"bucket with a folder": {bucketBody("bucket = \"shop/backups\""), "belongs in prefix"},
		"prefix outside":       {bucketBody("bucket = \"shop\"\nprefix = \"../x\""), "want a relative path"},
		"endpoint":             {bucketBody("bucket = \"shop\"\nendpoint = \"s3.example.com\""), "want a URL"},
		"mode of a lock":       {bucketBody("bucket = \"shop\"\nlock {\n mode = \"forever\"\n days = 1\n}"), "compliance"},
		"days of a lock":       {bucketBody("bucket = \"shop\"\nlock { days = 0 }"), "want 1 to 36500"},
		"lock without days":    {bucketBody("bucket = \"shop\"\nlock {}"), "days"},
		"bucket and host":      {ruleBody + "storage {\n address = \"203.0.113.9\"\n s3 { bucket = \"shop\" }\n}", "take out address and user"},
		"no rule":              {``, "at least one rule"},
		"no condition":         {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n}", "above, older_than or free"},
		"database":             {"rule \"a\" {\n paths = [\"/var/lib/redis/dump.rdb\"]\n above = \"1MiB\"\n}", "could reach databases"},
		"application":          {"rule \"a\" {\n paths = [\"/opt/storefront/**\"]\n above = \"1MiB\"\n}", "the application's folder"},
		"two of a name":        {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n above = \"1MiB\"\n}\nrule \"a\" {\n paths = [\"/var/log/b.log\"]\n above = \"1MiB\"\n}", "two rules"},
		"reopen":               {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n above = \"1MiB\"\n reopen = \"hope\"\n}", "copytruncate"},
		"signal to whom":       {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n above = \"1MiB\"\n reopen = \"signal\"\n}", "unit or pid_file"},
		"goal":                 {"rule \"a\" {\n paths = [\"/var/log/a.log\"]\n free = \"120%\"\n}", "less than 100%"},
		"compress":             {"compress = \"lzma\"\nrule \"a\" {\n paths = [\"/var/log/a.log\"]\n above = \"1MiB\"\n}", "zstd"},
		"unknown keyword":      {"rule \"a\" {\n path = [\"/var/log/a.log\"]\n above = \"1MiB\"\n}", "path"},
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

func bucketBody(arguments string) string {
	return ruleBody + "storage {\n  s3 {\n" + arguments + "\n  }\n}\n"
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
	if r := sdktest.Run(t, stage, bucketBody(`bucket = "shop-backups"`), sdktest.Options{Fake: fake}); r.Err != nil { // it needs no storage host
		t.Error(r.Err)
	}
	if r := sdktest.Run(t, stage, ruleBody, sdktest.Options{Fake: fake}); r.Err == nil || !strings.Contains(r.Err.Error(), "no host of role storage") {
		t.Errorf("without a storage host: %v", r.Err)
	}
}
