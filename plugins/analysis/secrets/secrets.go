// Package secrets finds what must not be in a repository: the patterns of gitleaks, private keys, AWS secret
// keys, and files that are keys by their name. A finding never holds the secret. The analysis plugin imports it.
package secrets

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/zricethezav/gitleaks/v8/detect"
)

// allowMark on a line says that a human has looked at it. It is gitleaks' own.
const allowMark = "gitleaks:allow"

// Finding is one secret. Line and Column are 1-based; 0: the file as a whole.
type Finding struct {
	Path         string
	Line, Column int
	Rule         string
	Message      string
}

// Scanner looks for secrets. It may be used from one goroutine at a time.
type Scanner struct{ gitleaks *detect.Detector }

// NewScanner compiles the rules, which takes some tens of milliseconds.
func NewScanner() (*Scanner, error) {
	d, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		return nil, fmt.Errorf("read rules of gitleaks: %w", err)
	}
	return &Scanner{d}, nil
}

// Scan looks at one file: its name first, and its content unless that is binary.
func (s *Scanner) Scan(ctx context.Context, name string, content []byte) []Finding {
	var list []Finding
	if why := keyFile(name); why != "" {
		list = append(list, Finding{Path: name, Rule: "key-file", Message: why})
	}
	if bytes.IndexByte(content[:min(len(content), 8000)], 0) >= 0 {
		return list
	}
	lines := bytes.Split(content, []byte("\n"))
	for _, f := range s.gitleaks.DetectContext(ctx, detect.Fragment{Raw: string(content), FilePath: name}) { //nolint:staticcheck // DetectContext takes no other until v9
		column := f.StartColumn
		if f.StartLine > 0 {
			column-- // gitleaks counts from the line break, which the first line has not
		}
		what, _, _ := strings.Cut(f.Description, ", ") // what follows is the harm it may do
		list = append(list, Finding{name, f.StartLine + 1, column, f.RuleID, strings.TrimSuffix(what, ".")})
	}
	for _, r := range ownRules {
		for _, at := range r.form.FindAllIndex(content, -1) {
			line := bytes.Count(content[:at[0]], []byte("\n"))
			column := at[0] - bytes.LastIndexByte(content[:at[0]], '\n')
			if !bytes.Contains(lines[line], []byte(allowMark)) {
				list = append(list, Finding{name, line + 1, column, r.id, r.message})
			}
		}
	}
	return once(list)
}

// ownRules add to gitleaks what it lets pass: a private key that is cut short or stands alone, and AWS secret
// keys whose entropy is that of text.
var ownRules = []struct {
	id, message string
	form        *regexp.Regexp
}{
	{
		"private-key", "Private key",
		regexp.MustCompile(`(?m)^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*\n(?:[A-Za-z-]+: .*\n|\s*\n)*[A-Za-z0-9+/=]{16}`),
	},
	{
		"aws-secret-access-key", "AWS secret access key",
		regexp.MustCompile(`(?i)aws_?secret(?:_?access)?_?key["']?\s*(?:=|:|=>|,)\s*["']?[A-Za-z0-9/+]{40}(?:[^A-Za-z0-9/+=]|$)`),
	},
}

// keyFile says why a file is a key by its name alone; "" when it is none.
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

// once leaves one finding for each line, of the rule that says most, in the order of lines.
func once(list []Finding) []Finding {
	rank := func(f Finding) int {
		if strings.HasPrefix(f.Rule, "generic") || f.Rule == "private-key" && f.Message != "Private key" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Rule, b.Rule))
	})
	return slices.CompactFunc(list, func(a, b Finding) bool { return a.Line == b.Line })
}
