package secrets

import (
	"fmt"
	"strings"
	"testing"
)

// The secrets are put together here, so that the tree that holds this test passes its own gate.
var (
	awsID      = "AKIA" + "Z7Q3M5XW2RTB6VNK"
	awsSecret  = strings.Repeat("aB3+dE6/", 5)
	github     = "ghp_" + "x7Kd92LmQpR4sTuVwYz1A3bC5eF8gH0iJkN6"
	begin, end = "-----BEGIN RSA " + "PRIVATE KEY-----", "-----END RSA " + "PRIVATE KEY-----"
	key        = begin + "\n" + strings.Repeat("MIIEowIBAAKCAQEA7bq0x3\n", 8) + end + "\n"
)

func TestScan(t *testing.T) {
	s, err := NewScanner()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ name, text, want string }{ // want as "LINE:COLUMN RULE", a line each
		"clean":                {"lib/a.js", "const key = process.env.AWS_SECRET_ACCESS_KEY;\n", ""},
		"AWS id":               {"a.js", "\n\nconst id = '" + awsID + "';\n", "3:13 aws-access-token"},
		"AWS secret":           {"a.py", "x = 1\nAWS_SECRET_ACCESS_KEY = \"" + awsSecret + "\"\n", "2:1 aws-secret-access-key"},
		"AWS secret in JSON":   {"a.json", `{"awsSecretKey": "` + awsSecret + `"}`, "1:3 aws-secret-access-key"},
		"AWS file":             {"home/.aws/credentials", "[default]\naws_secret_access_key = " + awsSecret + "\n", "0:0 key-file\n2:1 aws-secret-access-key"},
		"GitHub token":         {"a.yml", "token: " + github + "\n", "1:8 github-pat"},
		"private key":          {"conf/server.pem", "# mine\n" + key, "2:1 private-key"},
		"private key cut":      {"key.txt", begin + "\nMIIEowIBAAKCAQEA7b\n", "1:1 private-key"},
		"private key, headers": {"key.txt", begin + "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIEowIBAAKCAQEA7b\n", "1:1 private-key"},
		"words about keys":     {"a.js", "if (text.includes('" + begin + "')) {}\n", ""},
		"certificate":          {"server.pem", "-----BEGIN CERTIFICATE-----\nMIIEowIBAAKCAQEA7bq0x3MIIEowIBAAKCAQEA7bq0x3\n-----END CERTIFICATE-----\n", ""},
		"by name":              {"keys/id_rsa", "", "0:0 key-file"},
		"public half":          {"keys/id_rsa.pub", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ", ""},
		"key store":            {"a.P12", "\x00\x01", "0:0 key-file"},
		"binary":               {"a.dat", "\x00" + awsID, ""},
		"allowed on its line":  {"a.js", "const id = '" + awsID + "'; // gitleaks:allow\n", ""},
		"allowed own rule":     {"a.py", "aws_secret_key = '" + awsSecret + "' # gitleaks:allow\n", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			list, err := s.Scan(t.Context(), test.name, strings.NewReader(test.text))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range list {
				got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Rule))
				for _, secret := range []string{awsID, awsSecret, github, "MIIE"} {
					if strings.Contains(fmt.Sprintf("%+v", f), secret) {
						t.Errorf("the finding shows the secret: %+v", f)
					}
				}
				if f.Path != test.name || f.Message == "" {
					t.Errorf("finding %+v", f)
				}
			}
			if strings.Join(got, "\n") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
