package protect

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
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

// person is a process of a normal user, which no rule protects.
func person() process.Facts {
	return process.Facts{
		Ident: process.Ident{PID: 500, Start: 77}, PPID: 400, Comm: "loop", Executable: "/home/bob/loop", UIDs: []uint32{1001, 1001, 1001, 1001},
		GIDs: []uint32{1001, 1001, 1001, 1001, 100}, User: "bob", Cgroup: "/user.slice/user-1001.slice/session-3.scope", Unit: "session-3.scope",
		Chain: []process.Ancestor{{PID: 400, Comm: "bash", Executable: "/usr/bin/bash", RootOwned: true}, {PID: 390, Comm: "sshd", Executable: "/usr/sbin/sshd", RootOwned: true}, {PID: 1, Comm: "systemd"}},
	}
}

// installed makes a process one of a program that root installed.
func installed(exe string) func(*process.Facts) {
	return func(f *process.Facts) { f.Executable, f.RootOwned = exe, true }
}

// shell makes a process a shell on a terminal that sshd gave to it.
func shell(exe, state string) func(*process.Facts) {
	return func(f *process.Facts) {
		installed(exe)(f)
		f.Leader, f.State, f.Chain = true, state, f.Chain[1:]
	}
}

func TestJudge(t *testing.T) {
	etc := etcFolder(t, testPasswd, testGroup)
	uid := func(u ...uint32) func(*process.Facts) { return func(f *process.Facts) { f.UIDs = u } }
	for name, test := range map[string]struct {
		change func(*process.Facts)
		want   Rule
	}{
		"a normal user's":                {func(*process.Facts) {}, ""},
		"root":                           {uid(0, 0, 0, 0), RuleRoot},
		"root by real uid":               {uid(0, 1001, 1001, 1001), RuleRoot},
		"setuid root":                    {uid(1001, 0, 1001, 1001), RuleRoot},
		"root to return to":              {uid(1001, 1001, 0, 1001), RuleRoot},
		"root for files":                 {uid(1001, 1001, 1001, 0), RuleRoot},
		"a system user":                  {uid(33, 33, 33, 33), RuleSystem},
		"a system user by one uid":       {uid(1001, 1001, 33, 1001), RuleSystem},
		"uid 999":                        {uid(999, 999, 999, 999), RuleSystem},
		"nobody":                         {uid(65534, 65534, 65534, 65534), RuleSystem},
		"a dynamic user":                 {uid(61500, 61500, 61500, 61500), RuleSystem},
		"an unknown user":                {uid(60001, 60001, 60001, 60001), RuleUnknown},
		"one of the uids is unknown":     {uid(1001, 60001, 1001, 1001), RuleUnknown},
		"sudo member":                    {uid(1000, 1000, 1000, 1000), RuleAdmin},
		"sudo member by saved uid":       {uid(1001, 1001, 1000, 1001), RuleAdmin},
		"sudo by primary group":          {uid(1002, 1002, 1002, 1002), RuleAdmin},
		"adm member":                     {uid(1003, 1003, 1003, 1003), RuleAdmin},
		"sudo only in the process":       {func(f *process.Facts) { f.GIDs = append(f.GIDs, 27) }, RuleAdmin},
		"root's group in the process":    {func(f *process.Facts) { f.GIDs[1] = 0 }, RuleAdmin},
		"kernel thread":                  {func(f *process.Facts) { f.Kernel = true }, RuleKernel},
		"child of kthreadd":              {func(f *process.Facts) { f.PPID = 2 }, RuleKernel},
		"kthreadd":                       {func(f *process.Facts) { f.PID = 2 }, RuleKernel},
		"PID 1":                          {func(f *process.Facts) { f.PID = 1 }, RuleInit},
		"the doctor":                     {func(f *process.Facts) { f.PID = 900 }, RuleSelf},
		"what started the doctor":        {func(f *process.Facts) { f.PID = 899 }, RuleSelf},
		"what the doctor started":        {func(f *process.Facts) { f.Chain[1].PID = 900 }, RuleSelf},
		"in the doctor's unit":           {func(f *process.Facts) { f.Unit = "troop-agent@doctor-hosts.service" }, RuleSelf},
		"another agent":                  {func(f *process.Facts) { f.Unit = "troop-agent@deploy-shop.service" }, RuleUnit},
		"sshd for a session":             {installed("/usr/sbin/sshd"), RuleLogin},
		"sshd of today":                  {installed("/usr/lib/openssh/sshd-session"), RuleLogin},
		"a terminal multiplexer":         {installed("/usr/bin/tmux"), RuleLogin},
		"a program called tmux":          {func(f *process.Facts) { f.Executable = "/home/bob/tmux" }, ""},
		"a copy of sshd":                 {func(f *process.Facts) { f.Executable = "/home/bob/usr/sbin/sshd" }, ""},
		"a user's file in /usr":          {func(f *process.Facts) { f.Executable = "/usr/bin/tmux" }, ""}, // by a mount of his own
		"root's file elsewhere":          {installed("/srv/share/sshd"), ""},
		"a login shell":                  {shell("/usr/bin/bash", "S"), RuleLogin},
		"a login shell that burns":       {shell("/usr/bin/bash", "R"), ""},
		"a login shell with a swarm":     {func(f *process.Facts) { shell("/usr/bin/bash", "S")(f); f.Busy = true }, ""},
		"a login shell of his own":       {func(f *process.Facts) { shell("/home/bob/bash", "S")(f); f.RootOwned = false }, ""},
		"what replaced a login shell":    {shell("/usr/bin/stress-ng", "S"), ""},
		"a shell below a shell":          {func(f *process.Facts) { chain := f.Chain; shell("/usr/bin/bash", "S")(f); f.Chain = chain }, ""},
		"a shell below a fake sshd":      {func(f *process.Facts) { shell("/usr/bin/bash", "S")(f); f.Chain[0].RootOwned = false }, ""},
		"a command over ssh":             {func(f *process.Facts) { f.Leader = false; f.Chain = f.Chain[1:] }, ""},
		"named like sshd":                {func(f *process.Facts) { f.Comm = "sshd" }, ""},
		"systemd of the user":            {installed("/usr/lib/systemd/systemd"), RuleLogin},
		"logind's unit":                  {func(f *process.Facts) { f.Unit = "systemd-logind.service" }, RuleUnit},
		"in sshd's unit":                 {func(f *process.Facts) { f.Unit = "ssh.service" }, ""},
		"no executable":                  {func(f *process.Facts) { f.Executable = "" }, RuleUnknown},
		"no uids":                        {func(f *process.Facts) { f.UIDs = nil }, RuleUnknown},
		"no groups":                      {func(f *process.Facts) { f.GIDs = nil }, RuleUnknown},
		"the manifest's executable":      {func(f *process.Facts) { f.Executable = "/opt/batch/run" }, RuleConfigured},
		"the manifest's unit":            {func(f *process.Facts) { f.Unit = "render@4.service" }, RuleConfigured},
		"the manifest's user":            {uid(996, 996, 996, 996), RuleConfigured},
		"an administrator all the same":  {func(f *process.Facts) { f.Executable = "/opt/batch/run"; f.UIDs[0] = 1000 }, RuleAdmin},
		"a system user in a known group": {func(f *process.Facts) { f.UIDs = []uint32{33, 33, 33, 33}; f.GIDs[4] = 4 }, RuleAdmin},
	} {
		t.Run(name, func(t *testing.T) {
			g := &Guard{
				Accounts: func() (*Accounts, error) { return ReadAccounts(etc, t.TempDir()) },
				Self:     Self{PID: 900, Ancestors: []int{899, 1}, Unit: "troop-agent@doctor-hosts.service"},
				Extra:    Extra{Users: []string{"storefront"}, Units: []string{"render@*.service"}, Executables: []string{"/opt/batch/*"}},
			}
			f := person()
			test.change(&f)
			checkRule(t, g.Judge(f), test.want)
		})
	}
}

func checkRule(t *testing.T, got *Spared, want Rule) {
	t.Helper()
	switch {
	case want == "" && got != nil:
		t.Errorf("spared: %s", got.Reason)
	case want != "" && got == nil:
		t.Errorf("not spared, want %q", want)
	case got != nil && got.Rule != want:
		t.Errorf("spared by %q (%s), want %q", got.Rule, got.Reason, want)
	}
}

// TestJudgeWithoutAccounts has account files that cannot be read: nothing is touched.
func TestJudgeWithoutAccounts(t *testing.T) {
	for name, read := range map[string]func() (*Accounts, error){
		"no files":  func() (*Accounts, error) { return ReadAccounts(t.TempDir(), t.TempDir()) },
		"no groups": func() (*Accounts, error) { return ReadAccounts(etcFolder(t, testPasswd, "sudo:x\n"), t.TempDir()) },
		"broken line": func() (*Accounts, error) {
			return ReadAccounts(etcFolder(t, testPasswd+"eve:x:one\n", testGroup), t.TempDir())
		},
		"broken uid": func() (*Accounts, error) {
			return ReadAccounts(etcFolder(t, testPasswd+"eve:x:one:1::/:\n", testGroup), t.TempDir())
		},
		"an I/O error": func() (*Accounts, error) { return nil, errors.New("input/output error") },
	} {
		t.Run(name, func(t *testing.T) {
			g := &Guard{Accounts: read}
			if got := g.Judge(person()); got == nil || got.Rule != RuleUnknown {
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
	a, err := ReadAccounts(dir, t.TempDir())
	if err != nil || a.systemMax != 4999 {
		t.Errorf("got %d, %v, want 4999", a.systemMax, err)
	}
}
