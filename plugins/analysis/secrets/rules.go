package secrets

import (
	"bytes"
	"math"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
)

const privateKey = "Private key"

// ownRule finds secrets that gitleaks misses.
type ownRule struct {
	id, message string
	find        func(content []byte) []span
}

func ownRules() []ownRule {
	return []ownRule{
		{"private-key", privateKey, findPEM},
		{"putty-private-key", "PuTTY's private key", findPuTTY},
		{"aws-secret-access-key", "AWS secret access key", findAWS},
		{"uri-password", "Password in a URI", findURIPasswords},
	}
}

// between matches what may separate the lines of a key: indentation, markers of comments or continued strings, and line
// breaks escaped as in JSON and XML.
const between = "(?:\\\\+[nr]|&#(?:10|13|x[aAdD]);|[\\s\"'`+,;>|#*/.\\\\-])*"

var (
	pemForm = regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----` + between +
		`(?:[A-Za-z][A-Za-z-]+: [^\n]*\n` + between + `)*([A-Za-z0-9+/]{16,})`)
	pemEnd    = []byte("PRIVATE KEY")
	puttyForm = regexp.MustCompile(`PuTTY-User-Key-File-\d+: *[\w-]+` + between + `Encryption:`)
	bodyForm  = regexp.MustCompile(`[A-Za-z0-9+/]{40}`)
	awsForm   = regexp.MustCompile(`(?i)secret(?:_?access)?_?key["']?\s*(?:=>|[=:,>])\s*["']?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)`)

	fingerprintForm = regexp.MustCompile(`^.+:[\w-]+:\d+$`)
	commitForm      = regexp.MustCompile(`^[0-9a-f]{40}(?:[0-9a-f]{24})?:.+:[\w-]+:\d+$`)
)

// findPEM finds private keys that are indented, quoted, truncated or alone, which gitleaks misses.
func findPEM(content []byte) []span {
	if !bytes.Contains(content, []byte("-----BEGIN ")) {
		return nil
	}
	var list []span
	for _, m := range pemForm.FindAllSubmatchIndex(content, -1) {
		if !mixed(content[m[2]:m[3]]) {
			continue // a word
		}
		s := span{m[0], m[1]}
		if i := bytes.Index(content[m[1]:], pemEnd); i >= 0 && i < 16<<10 { // the mark may be on any of its lines
			s.end = m[1] + i
		}
		list = append(list, s)
	}
	return list
}

// mixed reports whether text has letters of both cases and a digit, like a line of a key.
func mixed(text []byte) bool {
	return bytes.ContainsFunc(text, unicode.IsUpper) && bytes.ContainsFunc(text, unicode.IsLower) && bytes.ContainsAny(text, "0123456789+/")
}

func findPuTTY(content []byte) []span {
	if !bytes.Contains(content, []byte("PuTTY-User-Key-File-")) {
		return nil
	}
	var list []span
	for _, m := range puttyForm.FindAllIndex(content, -1) {
		list = append(list, span{m[0], m[1]})
	}
	return list
}

// findAWS finds secret access keys by the name before them: their entropy may be as low as that of text.
func findAWS(content []byte) []span {
	var list []span
	for i := 0; i < len(content); {
		at := indexFold(content[i:], "secret")
		if at < 0 {
			break
		}
		at += i
		i = at + len("secret")
		m := awsForm.FindSubmatchIndex(content[at:min(len(content), at+120)])
		if m == nil || m[0] != 0 {
			continue
		}
		value := string(content[at+m[2] : at+m[3]])
		// Others use the name secret_key, too.
		name := bytes.ToLower(content[max(0, at-5) : at+m[2]])
		if !bytes.Contains(name, []byte("aws")) && !bytes.Contains(name, []byte("access")) || documented(value) || entropy(value) < 2 {
			continue
		}
		start := at
		for start > 0 && strings.IndexByte("aAwWsS_", content[start-1]) >= 0 && at-start < 4 {
			start--
		}
		list = append(list, span{start, at + m[1]})
	}
	return list
}

// indexFold finds a lower-case word, ignoring the case of the text.
func indexFold(text []byte, word string) int {
	first, upper := word[0], word[0]-'a'+'A'
	for i := 0; i+len(word) <= len(text); i++ {
		if c := text[i]; (c == first || c == upper) && bytes.EqualFold(text[i:i+len(word)], []byte(word)) {
			return i
		}
	}
	return -1
}

// documented reports whether a value comes from AWS' documentation, such as AKIAIOSFODNN7EXAMPLE.
func documented(value string) bool { return strings.Contains(value, "EXAMPLE") }

// longestAuthority is the maximum length of user, password and host in a URI, in bytes.
const longestAuthority = 512

// findURIPasswords finds SCHEME://USER:PASSWORD@HOST.
func findURIPasswords(content []byte) []span {
	var list []span
	for at := 0; ; {
		i := bytes.Index(content[at:], []byte("://"))
		if i < 0 {
			return list
		}
		at += i + len("://")
		authority := content[at:min(len(content), at+longestAuthority)]
		if end := bytes.IndexAny(authority, " \t\r\n\"'`<>/\\"); end >= 0 {
			authority = authority[:end]
		}
		cut := bytes.LastIndexByte(authority, '@')
		if cut < 0 || cut+1 == len(authority) {
			continue
		}
		user, password, ok := strings.Cut(string(authority[:cut]), ":")
		start := at - len("://")
		for start > 0 && isScheme(content[start-1]) && at-start < 40 {
			start--
		}
		if !ok || start == at-len("://") || placeholder(user, password, string(authority[cut+1:])) {
			continue
		}
		list = append(list, span{start, at + cut})
	}
}

func isScheme(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '.' || c == '-'
}

// variableForm matches placeholders: ${X}, $X, {x}, {{ x }}, %s, %(x)s, #{x}, <x>, [x], and x's and dots.
var variableForm = regexp.MustCompile(`[$#]?[{(\[][^})\]]*[})\]]|^\$\w+$|%[svdq](?:[^0-9a-fA-F]|$)|%\(|\*{3}|\.{3}|…|^[xX]+$`)

// placeholder reports whether a password is not a real one: empty, a variable, a placeholder word, the user's name, or a
// simple word with a local or example host.
func placeholder(user, password, host string) bool {
	if plain, err := url.PathUnescape(password); err == nil && !strings.Contains(password, "%s") {
		password = plain
	}
	if len(password) < 4 || strings.EqualFold(user, password) || variableForm.MatchString(password) || entropy(password) < 1 {
		return true
	}
	words := strings.FieldsFunc(strings.ToLower(password), func(r rune) bool { return !unicode.IsLetter(r) })
	known := len(words) > 0
	for _, w := range words {
		known = known && standsForPassword(w)
	}
	if known || len(words) == 0 && len(password) < 8 { // 123456
		return true
	}
	simple := len(password) < 8 || strings.ToLower(password) == password && !strings.ContainsAny(password, "0123456789") || entropy(password) < 2.5
	return simple && nowhere(host)
}

func standsForPassword(word string) bool {
	switch word {
	case "password", "passwd", "passwort", "pass", "passw", "pwd", "pw", "secret", "token", "key", "apikey", "api", "my", "your", "the", "some", "a", "db", "database",
		"user", "username", "name", "test", "testing", "example", "sample", "dummy", "fake", "mock", "changeme", "change", "me", "changeit", "guest", "root", "admin",
		"here", "foo", "bar", "baz", "foobar", "redacted", "hidden", "masked", "placeholder", "todo", "value", "string", "x", "xx", "xxx", "postgres", "mysql", "redis",
		"rabbitmq", "mongo", "credential", "credentials", "credentialed", "oauth", "basic", "auth", "login", "host", "port", "none", "null", "undefined", "s", "p", "u":
		return true
	}
	return strings.Trim(word, "x") == ""
}

// nowhere reports whether a host is this machine, an example, or a single word, like a container's name.
func nowhere(host string) bool {
	name := strings.ToLower(host)
	if i := strings.IndexAny(name, ":?#,"); i >= 0 && !strings.HasPrefix(name, "[") {
		name = name[:i]
	}
	if !strings.Contains(name, ".") || strings.HasPrefix(name, "127.") || strings.HasPrefix(name, "[::1]") {
		return true
	}
	for _, zone := range []string{".example.com", ".example.org", ".example.net", ".example", ".test", ".invalid", ".localhost", ".local", ".internal"} {
		if strings.HasSuffix("."+name, zone) {
			return true
		}
	}
	return false
}

// entropy is the Shannon entropy in bits per character.
func entropy(text string) float64 {
	counts := map[rune]float64{}
	total := 0.0
	for _, r := range text {
		counts[r]++
		total++
	}
	bits := 0.0
	for _, n := range counts {
		bits -= n / total * math.Log2(n/total)
	}
	return bits
}

// keyFile says which kind of secret a file is by its name, or "".
func keyFile(name string) string {
	base := strings.ToLower(path.Base(name))
	switch base {
	case "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk":
		return "Private SSH key, by its name"
	case "credentials":
		if path.Base(path.Dir(name)) == ".aws" {
			return "AWS credentials, by its name"
		}
	case ".netrc", "_netrc", ".pgpass", ".htpasswd":
		return "File of passwords, by its name"
	}
	switch path.Ext(base) {
	case ".p12", ".pfx", ".jks", ".keystore", ".ppk":
		return "Key store, by its name"
	case ".kdbx":
		return "Store of passwords, by its name"
	}
	return ""
}
