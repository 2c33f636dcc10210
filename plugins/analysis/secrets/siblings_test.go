package secrets

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

const putty = "PuTTY-User-Key-File-"

func TestScanSiblings(t *testing.T) {
	s, err := NewScanner()
	if err != nil {
		t.Fatal(err)
	}
	const password = "q7Gm2x" + "Lw9TzR"
	line := "MIIEowIBAAKCAQEA7bq0x3Kd92LmQpR4sTuVwYz1A3bC5eF8gH0iJkN6x7Kd92Lm"
	encode := base64.StdEncoding.EncodeToString
	wrap := func(s, indent string) string {
		var b strings.Builder
		for ; len(s) > 76; s = s[76:] {
			b.WriteString(indent + s[:76] + "\n")
		}
		return b.String() + indent + s + "\n"
	}
	uri := func(u string) string { return "URL=" + strings.ReplaceAll(u, "PW", password) + "\n" }
	tests := map[string]struct{ name, text, want string }{ // want as "LINE RULE", a line each
		"PEM in a comment":             {"a.go", "x := 1\n// " + begin + "\n// " + line + "\n// " + line + "\n", "2 private-key"},
		"PEM in JSON":                  {"a.json", `{"key": "` + begin + `\n` + line + `\n` + line + `\n` + end + `\n"}`, "1 private-key"},
		"PEM in pieces":                {"a.js", "const key = '" + begin + "\\n' +\n  '" + line + "\\n' +\n  '" + line + "';\n", "1 private-key"},
		"PEM on one line":              {"a.env", "KEY=\"" + begin + " " + line + " " + line + " " + end + "\"\n", "1 private-key"},
		"PEM in XML":                   {"a.xml", "<key>" + begin + "&#10;" + line + "&#xA;" + line + "</key>\n", "1 private-key"},
		"PEM, Windows line ends":       {"a.pem", begin + "\r\n" + line + "\r\n" + end + "\r\n", "1 private-key"},
		"PEM, indented headers":        {"a.yml", "k: |\n  " + begin + "\n  Proc-Type: 4,ENCRYPTED\n  DEK-Info: AES-128-CBC,00\n\n  " + line + "\n", "2 private-key"},
		"PEM allowed at its end":       {"a.go", "k := `" + begin + "\n" + line + "\n" + line + "\n" + end + "` // gitleaks:allow\n", ""},
		"PEM around words":             {"a.js", "const pem = '" + begin + "' + lines.map(toBase64StringWithPadding).join('') + toBase64StringWithPadding(x) + '" + end + "';\n", ""},
		"PEM of a placeholder":         {"README.md", begin + "\n... your private key ...\n" + end + "\n", ""},
		"base64 over lines":            {"a.yml", "data:\n  key: |\n" + wrap(encode([]byte(key)), "    ") + "  b: 1\n", "3 private-key"},
		"base64 in base64":             {"a.yml", "config: " + encode([]byte("client-key-data: "+encode([]byte(key))+"\n")) + "\n", "1 private-key"},
		"base64 behind a line break":   {"a.json", `{"a": "x\n` + encode([]byte(key)) + `"}`, "1 private-key"},
		"base64 without padding":       {"a.env", "KEY=" + strings.TrimRight(base64.URLEncoding.EncodeToString([]byte("-"+key)), "=") + "\n", "1 private-key"},
		"base64 of a URI":              {"a.yml", "url: " + encode([]byte(uri("postgres://shop:PW@db.shop.io/shop"))) + "\n", "1 uri-password"},
		"base64 of an id":              {"a.yml", "env: " + encode([]byte("AWS_ACCESS_KEY_ID="+awsID+"\n")) + "\n", "1 aws-access-token"},
		"base64, allowed":              {"a.yml", "key: " + encode([]byte(key)) + " # gitleaks:allow\n", ""},
		"base64 of a certificate":      {"a.env", "TLS_KEY=" + encode([]byte("-----BEGIN CERTIFICATE-----\n"+line+"\n-----END CERTIFICATE-----\n")) + "\n", ""},
		"base64 of an image":           {"a.css", "url(data:image/png;base64," + encode([]byte("\x89PNG\r\n\x1a\n"+strings.Repeat("\x00\x01\xff", 99))) + ")\n", ""},
		"PuTTY, indented":              {"a.yml", "k: |\n  " + putty + "2: ssh-rsa\n  Encryption: none\n", "2 putty-private-key"},
		"PuTTY in words":               {"a.go", "if strings.HasPrefix(line, \"PuTTY-User-Key-File-2: \") {\n", ""},
		"AWS, camel case":              {"a.js", "new S3({ secretAccessKey: '" + awsSecret + "' })\n", "1 " + awsRule},
		"AWS in XML":                   {"a.xml", "<SecretAccessKey>" + awsSecret + "</SecretAccessKey>\n", "1 " + awsRule},
		"AWS, documentation":           {"a.md", "secret_access_key = " + "je7MtGbClwBF/2Zp9Utk/h3yCo8nvb" + "EXAMPLEKEY\nAKIAI44QH8DHB" + "EXAMPLE\n", ""},
		"AWS, crossed out":             {"a.md", "AWS_SECRET_ACCESS_KEY=" + strings.Repeat("x", 40) + "\n", ""},
		"MySQL":                        {"a.env", uri("mysql://shop:PW@db.shop.io:3306/shop"), "1 uri-password"},
		"MongoDB, several hosts":       {"a.env", uri("mongodb+srv://shop:PW@a.shop.io,b.shop.io/shop"), "1 uri-password"},
		"JDBC":                         {"a.xml", "<url>" + uri("jdbc:postgresql://shop:PW@db.shop.io/shop") + "</url>", "1 uri-password"},
		"HTTP":                         {".npmrc", uri("https://ci:PW@npm.shop.io/"), "1 uri-password"},
		"SSH":                          {"a.sh", uri("sftp://backup:PW@files.shop.io/"), "1 uri-password"},
		"at sign in the password":      {"a.env", uri("redis://:PW@x@cache.shop.io"), "1 uri-password"},
		"host from a variable":         {"a.env", uri("postgres://shop:PW@${DB_HOST}/shop"), "1 uri-password"},
		"short words, but a real host": {"a.env", "postgres://shop:geheimnis" + "@db.shop.io/shop\n", "1 uri-password"},
		"two in a line":                {"a.env", uri("amqp://a:PW@q.shop.io,amqp://b:PW@r.shop.io"), "1 uri-password"},
		"URI, allowed":                 {"a.env", "# " + strings.TrimSpace(uri("redis://:PW@cache.shop.io")) + " gitleaks:allow\n", ""},
		"placeholders": {"a.md", "postgres://user:password@host/db\nredis://:secret@localhost:6379\nhttps://user:pass@example.com\n" +
			"amqp://guest:guest@rabbit:5672\nmysql://root:my-secret-pw@db/x\nsmtp://u:%s@h\nredis://:{password}@h\npostgres://u:{{ .Password }}@h\n" +
			"postgres://u:$PASSWORD@h\nhttps://u:***@h\nhttps://u:xxxxxx@h.io\nmongodb://u:<password>@h\nhttps://u:%s@%s\npostgres://u:$(PW)@h\npostgres://postgres:postgres@localhost/x\nredis://user:foobar@example.org\n", ""},
		"ports and scopes": {"a.js", "fetch('http://localhost:3000/@scope/x');\nimport 'https://esm.shop.io:8080/react@18';\n// see git@host:org/repo and ssh://git@host:22/x\n", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := s.Scan(t.Context(), test.name, strings.NewReader(test.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range list {
				got = append(got, fmt.Sprintf("%d %s", f.Line, f.Rule))
				for _, secret := range []string{awsID, awsSecret, password, "MIIE", "geheimnis"} {
					if strings.Contains(fmt.Sprintf("%+v", f), secret) {
						t.Errorf("the finding shows the secret: %+v", f)
					}
				}
			}
			if strings.Join(got, "\n") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Two actions scan at once, each with a scanner of its own, and each uses its scanner from all processors.
func TestScannersTogether(t *testing.T) {
	for range 2 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			s, err := NewScanner()
			if err != nil {
				t.Fatal(err)
			}
			for range 4 {
				t.Run("", func(t *testing.T) {
					t.Parallel()
					list, err := s.Scan(t.Context(), "a.pem", strings.NewReader(key+"\n"+awsID+"\n"))
					if err != nil || len(list) != 2 {
						t.Errorf("got %v, %v", list, err)
					}
				})
			}
		})
	}
}

// A secret that lies over the border of two windows is found, once, and lines are counted through all of them.
func TestScanWindows(t *testing.T) {
	s, err := NewScanner()
	if err != nil {
		t.Fatal(err)
	}
	const filler = "nothing to see here\n"
	for _, shift := range []int{len(key) / 2, overlap} {
		before := (window - shift) / len(filler)
		text := strings.Repeat(filler, before) + key + strings.Repeat(filler, window/len(filler)) + "id = '" + awsID + "'\n"
		list, err := s.Scan(t.Context(), "a.txt", strings.NewReader(text))
		last := strings.Count(text, "\n")
		if err != nil || len(list) != 2 || list[0].Line != before+1 || list[1].Line != last {
			t.Errorf("shift %d: got %v, %v; want lines %d and %d", shift, list, err, before+1, last)
		}
	}
}

func FuzzScan(f *testing.F) {
	s, err := NewScanner()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{key, "redis://:a@b", base64.StdEncoding.EncodeToString([]byte(key)), "\xff\xfea\x00", putty + "3: a\nEncryption: b", "aws_secret_key=" + awsSecret} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := s.Scan(t.Context(), "a.txt", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range list {
			if found.Line < 1 || found.Column < 1 {
				t.Errorf("%+v", found)
			}
		}
	})
}
