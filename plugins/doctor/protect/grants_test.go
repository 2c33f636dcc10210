package protect

import (
	"os"
	"path/filepath"
	"testing"
)

// TestGrants has rules of sudo and polkit in every form, and bob, who is in no group of administrators.
func TestGrants(t *testing.T) {
	const include = "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  Rule
	}{
		"root and groups only":          {map[string]string{"sudoers": "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL) ALL\n"}, ""},
		"a file of his own":             {map[string]string{"sudoers": include, "sudoers.d/90-bob": "bob ALL=(ALL) NOPASSWD:ALL\n"}, RuleAdmin},
		"an old include":                {map[string]string{"sudoers": "#includedir /etc/sudoers.d\n", "sudoers.d/bob": "bob ALL=(ALL) ALL\n"}, RuleAdmin},
		"an include of one file":        {map[string]string{"sudoers": "@include people\n", "people": "bob\tALL = (ALL) ALL\n"}, RuleAdmin},
		"a file that sudo skips":        {map[string]string{"sudoers": include, "sudoers.d/bob.bak": "bob ALL=(ALL) ALL\n"}, ""},
		"a comment":                     {map[string]string{"sudoers": "# bob ALL=(ALL) ALL\nann ALL=(ALL) ALL # bob\n"}, ""},
		"in a list":                     {map[string]string{"sudoers": "ann , bob,dan ALL=(ALL) ALL\n"}, RuleAdmin},
		"over two lines":                {map[string]string{"sudoers": "ann, \\\n  bob ALL=(ALL) ALL\n"}, RuleAdmin},
		"by uid":                        {map[string]string{"sudoers": "#1001 ALL=(ALL) ALL\n"}, RuleAdmin},
		"by another uid":                {map[string]string{"sudoers": "#1003 ALL=(ALL) ALL\n"}, ""},
		"by group":                      {map[string]string{"sudoers": "%users ALL=(ALL) ALL\n"}, RuleAdmin},
		"by gid":                        {map[string]string{"sudoers": "%#100 ALL=(ALL) ALL\n"}, RuleAdmin},
		"by his own group":              {map[string]string{"sudoers": "%bob ALL=(ALL) ALL\n"}, RuleAdmin},
		"by an alias":                   {map[string]string{"sudoers": "User_Alias OPS = ann, bob : DBA = dan\nOPS ALL=(ALL) ALL\n"}, RuleAdmin},
		"in quotes":                     {map[string]string{"sudoers": "\"bob\" ALL=(ALL) ALL\n"}, RuleAdmin},
		"as the user to become":         {map[string]string{"sudoers": "Runas_Alias APP = bob\nann ALL=(bob) ALL\n"}, ""},
		"everybody":                     {map[string]string{"sudoers": "ALL ALL=(ALL) /bin/true\n"}, RuleAdmin},
		"a netgroup":                    {map[string]string{"sudoers": "+admins ALL=(ALL) ALL\n"}, RuleUnknown},
		"a pattern":                     {map[string]string{"sudoers": "%:domain\\ admins ALL=(ALL) ALL\n"}, RuleUnknown},
		"rules in LDAP":                 {map[string]string{"sudoers": include, "nsswitch.conf": "passwd: files\nsudoers: files ldap\n"}, RuleUnknown},
		"rules in files":                {map[string]string{"sudoers": include, "nsswitch.conf": "passwd: files ldap\nsudoers: files # ldap\n"}, ""},
		"an include that depends":       {map[string]string{"sudoers": "@include /etc/sudoers.%h\n"}, RuleUnknown},
		"an include of itself":          {map[string]string{"sudoers": "@include sudoers\n"}, RuleUnknown},
		"polkit's administrators":       {map[string]string{"polkit-1/rules.d/50.rules": `polkit.addAdminRule(function(a, s) { return ["unix-group:wheel", "unix-user:bob"]; });`}, RuleAdmin},
		"a group of polkit":             {map[string]string{"polkit-1/localauthority.conf.d/51.conf": "[Configuration]\nAdminIdentities=unix-user:0;unix-group:users\n"}, RuleAdmin},
		"a subject of polkit":           {map[string]string{"polkit-1/rules.d/10.rules": `if (subject.user == "bob") return polkit.Result.YES;`}, RuleAdmin},
		"another of polkit's subjects":  {map[string]string{"polkit-1/rules.d/10.rules": `if (subject.isInGroup("libvirt")) return polkit.Result.YES;`}, ""},
		"his group in polkit's rules":   {map[string]string{"polkit-1/rules.d/10.rules": `if (subject.isInGroup('users')) return polkit.Result.YES;`}, RuleAdmin},
		"the distribution's own groups": {map[string]string{"share/polkit-1/rules.d/10.rules": `if (subject.isInGroup('users')) return polkit.Result.YES;`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			etc := etcFolder(t, testPasswd, testGroup)
			for file, text := range test.files {
				p := filepath.Join(etc, file)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			a, err := ReadAccounts(etc, filepath.Join(etc, "share"))
			if err != nil {
				t.Fatal(err)
			}
			g := &Guard{Accounts: func() (*Accounts, error) { return a, nil }}
			checkRule(t, g.Judge(person()), test.want)
			if a.Ordinary(1001) != (test.want == "") || a.Ordinary(33) || a.Ordinary(0) {
				t.Errorf("ordinary: bob %v, www-data %v, root %v", a.Ordinary(1001), a.Ordinary(33), a.Ordinary(0))
			}
		})
	}
}

// TestGrantsUnreadable has rules of sudo that cannot be read: nobody is touched.
func TestGrantsUnreadable(t *testing.T) {
	etc := etcFolder(t, testPasswd, testGroup)
	if err := os.Mkdir(filepath.Join(etc, "sudoers"), 0o700); err != nil {
		t.Fatal(err)
	}
	a, err := ReadAccounts(etc, etc)
	if err != nil {
		t.Fatal(err)
	}
	checkRule(t, (&Guard{Accounts: func() (*Accounts, error) { return a, nil }}).Judge(person()), RuleUnknown)
}
