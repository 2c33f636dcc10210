package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

const (
	testPasswd = `root:x:0:0:root:/root:/bin/bash
www-data:x:33:33::/var/www:/usr/sbin/nologin
storefront:x:996:996::/:/usr/sbin/nologin
ann:x:1000:1000::/home/ann:/bin/bash
bob:x:1001:1001::/home/bob:/bin/bash
cat:x:1002:27::/home/cat:/bin/bash
dan:x:1003:1003::/home/dan:/bin/bash
`
	testGroup = `root:x:0:
adm:x:4:dan
sudo:x:27:ann,eve
users:x:100:ann,bob
bob:x:1001:
`
)

// etcFolder writes the account files of a host.
func etcFolder(tb testing.TB, passwd, group string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, text := range map[string]string{"passwd": passwd, "group": group, "login.defs": "# comment\nUID_MIN 1000\nSYS_UID_MAX 999\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// person is a process of a normal user that no rule protects.
func person() facts {
	return facts{
		ident: ident{500, 77}, PPID: 400, Comm: "loop", Executable: "/home/bob/loop", UIDs: []uint32{1001, 1001, 1001, 1001},
		GIDs: []uint32{1001, 1001, 1001, 1001, 100}, User: "bob", Cgroup: "/user.slice/user-1001.slice/session-3.scope", Unit: "session-3.scope",
		Chain: []ancestor{{400, "bash", "/usr/bin/bash"}, {390, "sshd", "/usr/sbin/sshd"}, {1, "systemd", ""}},
	}
}

func TestJudge(t *testing.T) {
	etc := etcFolder(t, testPasswd, testGroup)
	uid := func(u ...uint32) func(*facts) { return func(f *facts) { f.UIDs = u } }
	for name, test := range map[string]struct {
		change func(*facts)
		want   rule
	}{
		"a normal user's":                {func(*facts) {}, ""},
		"root":                           {uid(0, 0, 0, 0), ruleRoot},
		"root by real uid":               {uid(0, 1001, 1001, 1001), ruleRoot},
		"setuid root":                    {uid(1001, 0, 1001, 1001), ruleRoot},
		"root to return to":              {uid(1001, 1001, 0, 1001), ruleRoot},
		"root for files":                 {uid(1001, 1001, 1001, 0), ruleRoot},
		"a system user":                  {uid(33, 33, 33, 33), ruleSystem},
		"a system user by one uid":       {uid(1001, 1001, 33, 1001), ruleSystem},
		"uid 999":                        {uid(999, 999, 999, 999), ruleSystem},
		"nobody":                         {uid(65534, 65534, 65534, 65534), ruleSystem},
		"a dynamic user":                 {uid(61500, 61500, 61500, 61500), ruleSystem},
		"an unknown user":                {uid(60001, 60001, 60001, 60001), ruleUnknown},
		"one of the uids is unknown":     {uid(1001, 60001, 1001, 1001), ruleUnknown},
		"sudo member":                    {uid(1000, 1000, 1000, 1000), ruleAdmin},
		"sudo member by saved uid":       {uid(1001, 1001, 1000, 1001), ruleAdmin},
		"sudo by primary group":          {uid(1002, 1002, 1002, 1002), ruleAdmin},
		"adm member":                     {uid(1003, 1003, 1003, 1003), ruleAdmin},
		"sudo only in the process":       {func(f *facts) { f.GIDs = append(f.GIDs, 27) }, ruleAdmin},
		"root's group in the process":    {func(f *facts) { f.GIDs[1] = 0 }, ruleAdmin},
		"kernel thread":                  {func(f *facts) { f.Kernel = true }, ruleKernel},
		"child of kthreadd":              {func(f *facts) { f.PPID = 2 }, ruleKernel},
		"kthreadd":                       {func(f *facts) { f.PID = 2 }, ruleKernel},
		"PID 1":                          {func(f *facts) { f.PID = 1 }, ruleInit},
		"the doctor":                     {func(f *facts) { f.PID = 900 }, ruleSelf},
		"what started the doctor":        {func(f *facts) { f.PID = 899 }, ruleSelf},
		"what the doctor started":        {func(f *facts) { f.Chain[1].PID = 900 }, ruleSelf},
		"in the doctor's unit":           {func(f *facts) { f.Unit = "troop-agent@doctor-hosts.service" }, ruleSelf},
		"another agent":                  {func(f *facts) { f.Unit = "troop-agent@deploy-shop.service" }, ruleUnit},
		"sshd for a session":             {func(f *facts) { f.Executable = "/usr/sbin/sshd" }, ruleLogin},
		"sshd of today":                  {func(f *facts) { f.Executable = "/usr/lib/openssh/sshd-session" }, ruleLogin},
		"a login shell":                  {func(f *facts) { f.Leader = true; f.Chain = f.Chain[1:] }, ruleLogin},
		"a command over ssh":             {func(f *facts) { f.Leader = false; f.Chain = f.Chain[1:] }, ""},
		"named like sshd":                {func(f *facts) { f.Comm = "sshd" }, ""},
		"systemd of the user":            {func(f *facts) { f.Executable = "/usr/lib/systemd/systemd" }, ruleLogin},
		"logind's unit":                  {func(f *facts) { f.Unit = "systemd-logind.service" }, ruleUnit},
		"in sshd's unit":                 {func(f *facts) { f.Unit = "ssh.service" }, ""},
		"no executable":                  {func(f *facts) { f.Executable = "" }, ruleUnknown},
		"no uids":                        {func(f *facts) { f.UIDs = nil }, ruleUnknown},
		"no groups":                      {func(f *facts) { f.GIDs = nil }, ruleUnknown},
		"the manifest's executable":      {func(f *facts) { f.Executable = "/opt/batch/run" }, ruleConfigured},
		"the manifest's unit":            {func(f *facts) { f.Unit = "render@4.service" }, ruleConfigured},
		"the manifest's user":            {uid(996, 996, 996, 996), ruleConfigured},
		"an administrator all the same":  {func(f *facts) { f.Executable = "/opt/batch/run"; f.UIDs[0] = 1000 }, ruleAdmin},
		"a system user in a known group": {func(f *facts) { f.UIDs = []uint32{33, 33, 33, 33}; f.GIDs[4] = 4 }, ruleAdmin},
	} {
		t.Run(name, func(t *testing.T) {
			g := &guard{
				accounts: func() (*accounts, error) { return readAccounts(etc) },
				self:     self{pid: 900, ancestors: []int{899, 1}, unit: "troop-agent@doctor-hosts.service"},
				extra:    protectExtra{Users: []string{"storefront"}, Units: []string{"render@*.service"}, Executables: []string{"/opt/batch/*"}},
			}
			f := person()
			test.change(&f)
			got := g.Judge(f)
			switch {
			case test.want == "" && got != nil:
				t.Errorf("spared: %s", got.Reason)
			case test.want != "" && got == nil:
				t.Errorf("not spared, want %q", test.want)
			case got != nil && got.Rule != test.want:
				t.Errorf("spared by %q (%s), want %q", got.Rule, got.Reason, test.want)
			}
		})
	}
}

// TestJudgeWithoutAccounts has every way in which users and groups cannot be known: nothing is touched.
func TestJudgeWithoutAccounts(t *testing.T) {
	for name, read := range map[string]func() (*accounts, error){
		"no files":    func() (*accounts, error) { return readAccounts(t.TempDir()) },
		"no groups":   func() (*accounts, error) { return readAccounts(etcFolder(t, testPasswd, "sudo:x\n")) },
		"broken line": func() (*accounts, error) { return readAccounts(etcFolder(t, testPasswd+"eve:x:one\n", testGroup)) },
		"broken uid": func() (*accounts, error) {
			return readAccounts(etcFolder(t, testPasswd+"eve:x:one:1::/:\n", testGroup))
		},
		"an I/O error": func() (*accounts, error) { return nil, errors.New("input/output error") },
	} {
		t.Run(name, func(t *testing.T) {
			g := &guard{accounts: read}
			if got := g.Judge(person()); got == nil || got.Rule != ruleUnknown {
				t.Errorf("got %v, want it spared because it cannot be judged", got)
			}
		})
	}
}

func TestSystemMax(t *testing.T) {
	dir := etcFolder(t, testPasswd, testGroup)
	if err := os.WriteFile(filepath.Join(dir, "login.defs"), []byte("UID_MIN\t\t5000\nSYS_UID_MAX 999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := readAccounts(dir)
	if err != nil || a.systemMax != 4999 {
		t.Errorf("got %d, %v, want 4999", a.systemMax, err)
	}
}

func TestUnitOf(t *testing.T) {
	for cgroup, want := range map[string]string{
		"/system.slice/ssh.service":                                       "ssh.service",
		"/system.slice/system-shop.slice/shop@a.service":                  "shop@a.service",
		"/user.slice/user-1000.slice/session-3.scope":                     "session-3.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope": "user@1000.service",
		"/init.scope":  "init.scope",
		"/":            "",
		"/docker/0123": "",
		"/../../system.slice/troop-agent@x.service": "troop-agent@x.service",
	} {
		if got := unitOf(cgroup); got != want {
			t.Errorf("unitOf(%q) = %q, want %q", cgroup, got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	for name, test := range map[string]struct{ args, want []string }{
		"nothing":      {[]string{"node", "start.js", "--port", "3000"}, []string{"node", "start.js", "--port", "3000"}},
		"flag=value":   {[]string{"x", "--password=hunter2"}, []string{"x", "--password=***"}},
		"flag value":   {[]string{"x", "--db-password", "hunter2", "y"}, []string{"x", "--db-password", "***", "y"}},
		"flag flag":    {[]string{"x", "--token", "--verbose"}, []string{"x", "--token", "--verbose"}},
		"environment":  {[]string{"env", "API_KEY=abc", "run"}, []string{"env", "API_KEY=***", "run"}},
		"in a script":  {[]string{"sh", "-c", "PGPASSWORD=abc psql"}, []string{"sh", "-c", "PGPASSWORD=***"}},
		"URL":          {[]string{"x", "redis://:s3cret@10.0.0.1:6379"}, []string{"x", "redis://:***@10.0.0.1:6379"}},
		"header":       {[]string{"curl", "-H", "Authorization: Bearer abc"}, []string{"curl", "-H", "Authorization:***"}},
		"bearer alone": {[]string{"x", "Bearer abc"}, []string{"x", "Bearer ***"}},
		"mysql":        {[]string{"/usr/bin/mysqldump", "-pabc"}, []string{"/usr/bin/mysqldump", "-p***"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := redact(test.args)
			for i := range test.want {
				if i >= len(got) || got[i] != test.want[i] {
					t.Fatalf("got %q, want %q", got, test.want)
				}
			}
		})
	}
}
