package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

const programs = `
process "worker" {
	command = ["node", "worker.js"]
	hosts   = "production"
	count   = 2
}
task "migrate" { command = ["node", "migrate.js"] }
task "index" {
	command = ["node", "index.js"]
	before  = "production"
}
schedule "report" {
	command  = ["node", "report.js"]
	calendar = "daily"
}
`

// running are the programs that the playbooks so far were told to run, as STEP NAME HOSTS.
func (s *site) running() (all []string) {
	for _, p := range s.fake.Playbooks() {
		list, _ := p.Vars["release_programs"].([]any)
		for _, v := range list {
			m, _ := v.(map[string]any)
			var hosts []string
			for _, h := range m["hosts"].([]any) {
				hosts = append(hosts, h.(string))
			}
			if m["kind"] != "process" || p.Vars["release_step"] == "install" && slices.Contains(p.Hosts, "web-1") {
				all = append(all, strings.Join([]string{p.Vars["release_step"].(string), m["name"].(string), strings.Join(hosts, ",")}, " "))
			}
		}
	}
	return slices.DeleteFunc(all, func(line string) bool { return strings.HasPrefix(line, "restarts ") })
}

// TestPrograms deploys a release with other programs: tasks run once and before the hosts that wait for them, processes on
// their hosts, and the schedule on one, from the release that is good.
func TestPrograms(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.manifest += programs
	s.mustDeploy(artifact1)
	want := []string{
		"install migrate canary-1",                                                                                    // on the canary
		"install worker-1 web-1,web-2", "install worker-2 web-1,web-2", "install index web-1", "install report web-1", // in production
		"settle report web-1",
	}
	if got := s.running(); !slices.Equal(got, want) {
		t.Errorf("programs:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	d := s.desired()
	if done := d.Releases[d.Good].Done; !slices.Equal(done, []string{"migrate", "index"}) {
		t.Errorf("tasks that have run: %q", done)
	}
	s.mustDeploy(artifact2)
	before := len(s.running())
	if r := s.call("rollback", map[string]string{"yes": "true"}); r.Err != nil {
		t.Fatal(r.Err)
	}
	if more := s.running()[before:]; slices.ContainsFunc(more, func(line string) bool { return strings.Contains(line, "migrate") || strings.Contains(line, "index") }) {
		t.Errorf("the rollback ran tasks: %q", more)
	}
}

// TestFailedTaskEndsTheDeploy has a migration that fails: nothing of the release serves.
func TestFailedTaskEndsTheDeploy(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	s.manifest += programs
	playbook := s.fake.OnPlaybook
	s.fake.OnPlaybook = func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
		if slices.Contains(p.Hosts, "canary-1") && p.Vars["release_step"] == "install" {
			return s.failedTask()
		}
		return playbook(p)
	}
	r := s.deploy(artifact2)
	if r.Err == nil || !strings.Contains(r.Err.Error(), "canary-1: the task shop-migrate failed; it ended with status 1/FAILURE") {
		t.Errorf("got %v", r.Err)
	}
	expect(t, "canary-1", s.serving("canary-1"), artifact1)
	s.expectSplit(30, 20, 10)
}

// TestWithoutHTTP deploys a service that gets no requests. The router keeps its slots in maintenance, and a release that
// restarts while it is watched goes back.
func TestWithoutHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.inService("health { stays_up = \"1s\" }")
	s.mustDeploy(artifact1)
	s.mustDeploy(artifact2)
	expect(t, "web-1", s.serving("web-1"), artifact2)
	expect(t, "canary-1", s.serving("canary-1"), artifact2)
	servers, _, err := haproxy.New(s.setting.paths.Socket, "").Servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"production/web-1-a", "production/web-1-b", "canary/canary-1-c", "canary/canary-1-d"} {
		if servers[name].Admin != haproxy.Maintenance {
			t.Errorf("%s: %+v", name, servers[name])
		}
	}
	if r := s.deployBody(t.Context(), brief, strings.Replace(s.body(brief), `watch        = "500ms"`, `watch = "2s"`, 1)); r.Err == nil {
		t.Error("a release that restarts was promoted")
	}
	expect(t, "web-1 after a bad release", s.serving("web-1"), artifact2)
}
