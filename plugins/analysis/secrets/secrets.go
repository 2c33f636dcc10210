// Package secrets finds secrets in files: the patterns of gitleaks, private keys, AWS secret keys and passwords in URIs, also
// in UTF-16 and base64, and key files by their name. A finding never contains the secret. The analysis plugin imports it.
package secrets

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
	"github.com/zricethezav/gitleaks/v8/report"
)

// allowMark on a line allows its findings, as in gitleaks.
const allowMark = "gitleaks:allow"

// A file is read in windows of this many bytes. Windows overlap, so that every secret is completely in one of them. A small
// window is faster: a rule runs only on windows that contain its keyword.
const (
	window  = 256 << 10
	overlap = 32 << 10
)

// deepest is the maximum nesting depth of base64: a Kubernetes secret may contain a kubeconfig that contains a key.
const deepest = 2

// Finding is one secret. Line and Column are 1-based; 0: the file as a whole.
type Finding struct {
	Path         string
	Line, Column int
	Rule         string
	Message      string
}

// Fingerprint identifies the finding in a file of allowed findings, in gitleaks' form: FILE:RULE:LINE.
func (f Finding) Fingerprint() string { return fmt.Sprintf("%s:%s:%d", f.Path, f.Rule, f.Line) }

// Scanner finds secrets. Safe for concurrent use.
type Scanner struct{ gitleaks *detect.Detector }

// NewScanner compiles the rules, which takes some tens of milliseconds. It reads them itself, because
// detect.NewDetectorDefaultConfig does so through viper's global configuration, which is a data race.
func NewScanner() (*Scanner, error) {
	v := viper.New()
	v.SetConfigType("toml")
	if err := v.ReadConfig(strings.NewReader(config.DefaultConfig)); err != nil {
		return nil, fmt.Errorf("read rules of gitleaks: %w", err)
	}
	var raw config.ViperConfig
	if err := v.Unmarshal(&raw); err != nil {
		return nil, fmt.Errorf("read rules of gitleaks: %w", err)
	}
	rules, err := raw.Translate()
	if err != nil {
		return nil, fmt.Errorf("read rules of gitleaks: %w", err)
	}
	return &Scanner{detect.NewDetector(rules)}, nil
}

// Scan scans one file: its name, and its content unless that is binary. The content may have any length.
func (s *Scanner) Scan(ctx context.Context, name string, content io.Reader) ([]Finding, error) {
	var list []Finding
	if why := keyFile(name); why != "" {
		list = append(list, Finding{Path: name, Rule: "key-file", Message: why})
	}
	text, ok := decodeText(bufio.NewReaderSize(content, sniffed))
	if !ok {
		return list, nil
	}
	var part bytes.Buffer
	for line := 1; ; {
		n, err := part.ReadFrom(io.LimitReader(text, int64(window-part.Len())))
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		for _, f := range s.scan(ctx, name, part.Bytes(), deepest) {
			if f.Line += line; f.Column == 0 { // found by the file's name
				f.Line = 0
			}
			list = append(list, f)
		}
		if n == 0 || part.Len() < window {
			return once(list), nil
		}
		done := part.Bytes()[:window-overlap]
		if i := bytes.LastIndexByte(done, '\n'); i >= 0 {
			done = done[:i+1]
		}
		line += bytes.Count(done, []byte("\n"))
		part.Next(len(done))
	}
}

// scan scans text. The lines of its findings count from 0.
func (s *Scanner) scan(ctx context.Context, name string, content []byte, depth int) []Finding {
	var list []Finding
	at := locator{text: content}
	for _, f := range s.gitleaks.DetectContext(ctx, detect.Fragment{Raw: string(content), FilePath: name}) { //nolint:staticcheck // DetectContext takes no other until v9
		if documented(f.Secret) || f.RuleID == "private-key" && !bodyForm.MatchString(f.Secret) || holdsPublicKey(f) {
			continue
		}
		what, _, _ := strings.Cut(f.Description, ", ") // the rest describes the possible harm
		line, column := at.secret(f)
		list = append(list, Finding{name, line, column, f.RuleID, strings.TrimSuffix(what, ".")})
	}
	for _, rule := range ownRules() {
		for _, m := range rule.find(content) {
			if !at.allowed(m) {
				line, column := at.position(m.start)
				list = append(list, Finding{name, line, column, rule.id, rule.message})
			}
		}
	}
	if depth == 0 {
		return list
	}
	eachEncoded(content, func(start int, decoded []byte) {
		found := s.scan(ctx, "", decoded, depth-1)
		if len(found) == 0 || at.allowed(span{start, start}) {
			return
		}
		f := slices.MinFunc(found, func(a, b Finding) int { return cmp.Compare(rank(a), rank(b)) })
		f.Path = name
		f.Line, f.Column = at.position(start)
		f.Message = strings.TrimSuffix(f.Message, inBase64) + inBase64
		list = append(list, f)
	})
	return list
}

const inBase64 = ", in base64"

// holdsPublicKey reports whether a finding based on a name such as "key" is a public key or a certificate.
func holdsPublicKey(f report.Finding) bool {
	if !isGeneric(f.RuleID) {
		return false
	}
	public := false
	eachEncoded([]byte(f.Secret), func(_ int, decoded []byte) {
		public = public || bytes.Contains(decoded, []byte("-----BEGIN ")) && !bytes.Contains(decoded, []byte("PRIVATE KEY"))
	})
	return public
}

// locator finds lines in a text.
type locator struct{ text []byte }

// span is a part of a text, in bytes.
type span struct{ start, end int }

// position returns the line, from 0, and the column, from 1.
func (l locator) position(offset int) (line, column int) {
	before := l.text[:offset]
	return bytes.Count(before, []byte("\n")), offset - bytes.LastIndexByte(before, '\n')
}

// allowed reports whether a line of the span has the mark.
func (l locator) allowed(s span) bool {
	start := bytes.LastIndexByte(l.text[:s.start], '\n') + 1
	end := len(l.text)
	if i := bytes.IndexByte(l.text[s.end:], '\n'); i >= 0 {
		end = s.end + i
	}
	return bytes.Contains(l.text[start:end], []byte(allowMark))
}

// secret returns the position of the secret in a finding of gitleaks, whose match may start some lines earlier, as in a
// Kubernetes manifest.
func (l locator) secret(f report.Finding) (line, column int) {
	line, column = f.StartLine, f.StartColumn
	if f.StartLine > 0 {
		column-- // gitleaks counts from the preceding line break, which the first line does not have
	}
	if i := strings.Index(f.Match, f.Secret); i > 0 {
		before := f.Match[:i]
		if n := strings.Count(before, "\n"); n > 0 {
			return line + n, i - strings.LastIndexByte(before, '\n')
		}
	}
	return line, column
}

// rank orders rules by how specific they are, best first.
func rank(f Finding) int {
	switch {
	case isGeneric(f.Rule):
		return 2
	case f.Rule == "private-key" && f.Message != privateKey && f.Message != privateKey+inBase64: // gitleaks' description is longer
		return 1
	}
	return 0
}

func isGeneric(rule string) bool {
	return strings.HasPrefix(rule, "generic") || rule == "kubernetes-secret-yaml"
}

// once keeps one finding per line, of the most specific rule, sorted by line.
func once(list []Finding) []Finding {
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Rule, b.Rule))
	})
	return slices.CompactFunc(list, func(a, b Finding) bool { return a.Line == b.Line })
}

// Allowed is a set of fingerprints from a file in gitleaks' format, one FILE:RULE:LINE per line. Empty lines, comments (#)
// and entries of commits (COMMIT:FILE:RULE:LINE) are ignored.
type Allowed map[string]bool

// ReadAllowed reads a file of fingerprints.
func ReadAllowed(content []byte) (Allowed, error) {
	allowed := Allowed{}
	n := 0
	for line := range strings.Lines(string(content)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || commitForm.MatchString(line) {
			continue
		}
		if !fingerprintForm.MatchString(line) {
			return nil, fmt.Errorf("line %d: want FILE:RULE:LINE, got %q", n, line)
		}
		allowed[line] = true
	}
	return allowed, nil
}
