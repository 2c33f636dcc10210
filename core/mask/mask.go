// Package mask hides secrets in text, in values and in streams of lines. The engine, the command-line tool and
// whoever shows what came from elsewhere import it.
package mask

import (
	"net/url"
	"slices"
	"strings"
	"sync"
)

const (
	masked = "***"
	// minSecret is the least length, in bytes, of what is masked: anything shorter is in every other word.
	minSecret = 4
	// minFragment is the least length of a line of a multi-line secret that is masked by itself.
	minFragment = 8
)

// Mask hides secrets in whatever leaves a run. A secret is also found without its line breaks, one of its
// lines is found by itself, and so is the password of a secret that is an address. It is safe for concurrent
// use.
type Mask struct {
	mu      sync.RWMutex
	whole   []string // as they may stand in one text
	joined  []string // without line breaks, as they may be spread over several lines
	longest int      // of joined, bytes
}

// New returns a mask for some secrets.
func New(secrets ...string) *Mask {
	m := &Mask{}
	for _, s := range secrets {
		m.Add(s)
	}
	return m
}

// Add hides one more secret from now on.
func (m *Mask) Add(secret string) {
	secret = strings.TrimSpace(secret)
	if len(secret) < minSecret {
		return
	}
	whole := []string{secret}
	if lines := strings.Split(secret, "\n"); len(lines) > 1 {
		for _, l := range lines {
			if l = strings.TrimSpace(l); len(l) >= minFragment {
				whole = append(whole, l)
			}
		}
	}
	if u, err := url.Parse(secret); err == nil && u.User != nil {
		if p, ok := u.User.Password(); ok && len(p) >= minSecret {
			_, escaped, _ := strings.Cut(u.User.String(), ":")
			whole = append(whole, p, escaped)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range whole {
		if !slices.Contains(m.whole, w) {
			m.whole = append(m.whole, w)
		}
		if j := joinLines(w); !slices.Contains(m.joined, j) {
			m.joined = append(m.joined, j)
			m.longest = max(m.longest, len(j))
		}
	}
}

// String returns s with every secret replaced.
func (m *Mask) String(s string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return cover(s, find(s, m.whole))
}

// Value returns v with every secret replaced in all strings within it. It copies what it changes.
func (m *Mask) Value(v any) any {
	switch v := v.(type) {
	case string:
		return m.String(v)
	case []string:
		out := make([]string, len(v))
		for i, s := range v {
			out[i] = m.String(s)
		}
		return out
	case [][]string:
		out := make([][]string, len(v))
		for i, row := range v {
			out[i], _ = m.Value(row).([]string)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = m.Value(x)
		}
		return out
	case []map[string]any:
		out := make([]map[string]any, len(v))
		for i, x := range v {
			out[i] = m.Map(x)
		}
		return out
	case map[string]any:
		return m.Map(v)
	case map[string]string:
		out := make(map[string]string, len(v))
		for k, s := range v {
			out[m.String(k)] = m.String(s)
		}
		return out
	case error:
		return m.String(v.Error())
	default: // numbers, booleans, times
		return v
	}
}

// Map masks the keys and values of a map; nil stays nil.
func (m *Mask) Map(v map[string]any) map[string]any {
	if v == nil {
		return nil
	}
	out := make(map[string]any, len(v))
	for k, x := range v {
		out[m.String(k)] = m.Value(x)
	}
	return out
}

// Lines masks the lines of one stream, where a secret may be spread over several. A line that ends like the
// beginning of a secret is held back until the next line tells. It is for one goroutine.
type Lines struct {
	Mask *Mask
	Emit func(line string)
	past string   // the end of what was let go, unmasked and joined
	held []string // unmasked
}

// Line takes the next line and emits those that can be judged.
func (l *Lines) Line(line string) {
	l.held = append(l.held, line)
	l.release(false)
}

// Flush emits what is held back; the stream has ended.
func (l *Lines) Flush() { l.release(true) }

func (l *Lines) release(all bool) {
	l.Mask.mu.RLock()
	whole, joined, longest := l.Mask.whole, l.Mask.joined, l.Mask.longest
	l.Mask.mu.RUnlock()

	var b strings.Builder
	b.WriteString(l.past)
	starts := make([]int, len(l.held)) // of the held lines within text
	for i, line := range l.held {
		starts[i] = b.Len()
		b.WriteString(joinLines(line))
	}
	text := b.String()
	spread := find(text, joined)
	keep := len(text)
	if !all {
		keep -= beginning(text, joined)
	}

	n := 0
	for n < len(l.held) {
		end := starts[n] + len(joinLines(l.held[n]))
		if end > keep {
			break
		}
		l.Emit(l.maskLine(l.held[n], starts[n], end, spread, whole))
		n++
	}
	if n < len(l.held) {
		text = text[:starts[n]]
	}
	l.held = slices.Delete(l.held, 0, n)
	l.past = text[max(0, len(text)-longest):]
}

// maskLine covers what spread leaves of the line that stands at start to end in the joined text.
func (l *Lines) maskLine(line string, start, end int, spread []span, whole []string) string {
	if strings.ContainsAny(line, "\r\n") { // its offsets are not those of the joined text
		return cover(line, find(line, whole))
	}
	var mine []span
	for _, s := range spread {
		if from, to := max(s.from, start), min(s.to, end); from < to {
			mine = append(mine, span{from - start, to - start})
		}
	}
	return cover(line, mine)
}

// span is a part of a text, in bytes.
type span struct{ from, to int }

// find returns where the secrets stand in s, in order and without overlaps.
func find(s string, secrets []string) []span {
	var spans []span
	for _, secret := range secrets {
		for at := 0; ; {
			i := strings.Index(s[at:], secret)
			if i < 0 {
				break
			}
			spans = append(spans, span{at + i, at + i + len(secret)})
			at += i + 1
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	merged := spans[:0]
	for _, x := range spans {
		if n := len(merged); n > 0 && x.from <= merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, x.to)
			continue
		}
		merged = append(merged, x)
	}
	return merged
}

func cover(s string, spans []span) string {
	if len(spans) == 0 {
		return s
	}
	var b strings.Builder
	at := 0
	for _, x := range spans {
		b.WriteString(s[at:x.from])
		b.WriteString(masked)
		at = x.to
	}
	b.WriteString(s[at:])
	return b.String()
}

// beginning is the length of the longest end of text with which a secret begins, when that is worth hiding.
func beginning(text string, secrets []string) int {
	longest := 0
	for _, s := range secrets {
		for n := min(len(text), len(s)-1); n >= max(minSecret, longest+1); n-- {
			if strings.HasSuffix(text, s[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}

var lineBreaks = strings.NewReplacer("\r", "", "\n", "")

func joinLines(s string) string { return lineBreaks.Replace(s) }
