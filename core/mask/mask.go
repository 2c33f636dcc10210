// Package mask hides secrets in text, in values and in streams of lines. It looks at what a terminal would show, so
// that a colour in the middle of a secret hides nothing from it, and knows the forms in which tools write a secret. The
// engine, the command-line tool and whoever shows what came from elsewhere import it.
package mask

import (
	"net/url"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/core/plain"
)

// MinSecret is the least length, in bytes, of what is masked: anything shorter is in every other word.
const MinSecret = 4

const (
	masked = "***"
	// minFragment is the least length of a line of a multi-line secret that is masked by itself.
	minFragment = 8
	// mostHeld is how many lines wait at most. Each line of a secret has a byte, and a secret is not longer.
	mostHeld = 64 << 10
)

// Mask hides secrets in whatever leaves a run. A secret is also found without its line breaks and in the forms in
// which tools write it; one of its lines is found by itself, and so is the password of a secret that is an address.
// It is safe for concurrent use.
type Mask struct {
	mu     sync.Mutex
	known  map[string]bool // all that is hidden
	finder *finder         // nil: there are new ones
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
	if len(secret) < MinSecret {
		return
	}
	all := append(forms(secret), secret)
	if lines := strings.Split(secret, "\n"); len(lines) > 1 {
		for _, l := range lines {
			if l = strings.TrimSpace(l); len(l) >= minFragment {
				all = append(append(all, l), written(l)...)
			}
		}
	}
	if u, err := url.Parse(secret); err == nil && u.User != nil {
		if p, ok := u.User.Password(); ok && len(p) >= MinSecret {
			_, escaped, _ := strings.Cut(u.User.String(), ":")
			all = append(append(all, p, escaped), forms(p)...)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]bool{}
	}
	for _, text := range all {
		if text = plain.Bare(text); len(text) >= MinSecret && !m.known[text] {
			m.known[text] = true
			m.finder = nil
		}
	}
}

// find is what finds the secrets that are known by now.
func (m *Mask) find() *finder {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.finder == nil {
		m.finder = newFinder(m.known)
	}
	return m.finder
}

// String returns s with every secret replaced. A text in which a control sequence hides one is returned as a terminal
// would show it.
func (m *Mask) String(s string) string {
	f := m.find()
	bare, shown := plain.Bare(s), plain.Text(s)
	if shown == s && len(bare) == len(joinLines(s)) {
		return cover(s, f.find(s))
	}
	lines := strings.Split(shown, "\n")
	for i, l := range lines {
		lines[i] = plain.Bare(l)
	}
	shown = strings.Join(lines, "\n")
	spans := f.find(shown)
	if len(spans) > 0 || len(f.find(bare)) > 0 {
		return cover(shown, spans)
	}
	return s
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

// Lines masks the lines of one stream, where a secret may be spread over several, and makes plain text of them. A line
// that ends like the beginning of a secret is held back until the next line tells. It is for one goroutine.
type Lines struct {
	Mask *Mask
	Emit func(line string)

	look     search
	held     []held
	released int    // bytes of look that were let go
	recent   []byte // the end of what look has seen
}

// held is a line that is not let go yet.
type held struct {
	text     string // as a terminal shows it
	bare     string // without what takes no place
	from, to int    // of bare, in what look has seen
}

// Line takes the next line and emits those that can be judged.
func (l *Lines) Line(line string) {
	for part := range strings.SplitSeq(line, "\n") {
		text := plain.Line(part)
		bare := plain.Bare(text)
		l.renew()
		from := l.look.at
		l.look.take(bare)
		l.held = append(l.held, held{text, bare, from, l.look.at})
		l.remember(bare)
		l.release(l.look.at - l.look.open())
	}
}

// Flush emits what is held back; the stream has ended.
func (l *Lines) Flush() { l.release(l.look.at) }

// renew goes on with the secrets that became known since the last line.
func (l *Lines) renew() {
	f := l.Mask.find()
	if f == l.look.finder {
		return
	}
	again := search{finder: f, at: l.look.at - len(l.recent)}
	again.take(string(l.recent))
	for _, x := range l.look.spans {
		again.spans = merge(again.spans, x)
	}
	l.look = again
}

// remember keeps what the secrets that are not known yet may begin with: what is held, and as much before it as is
// the beginning of one.
func (l *Lines) remember(bare string) {
	l.recent = append(l.recent, bare...)
	if need := max(l.look.at-l.released, int(l.look.nodes[l.look.state].depth)); len(l.recent) > 2*need+(64<<10) {
		l.recent = append([]byte(nil), l.recent[len(l.recent)-need:]...)
	}
}

// release emits the lines that end before a place, and the oldest of too many.
func (l *Lines) release(keep int) {
	n := 0
	for n < len(l.held) && (l.held[n].to <= keep || len(l.held)-n > mostHeld) {
		h := l.held[n]
		text := h.text
		if spans := within(l.look.spans, h.from, h.to); len(spans) > 0 {
			text = cover(h.bare, spans)
		}
		l.Emit(text)
		l.released = h.to
		n++
	}
	if n == 0 {
		return
	}
	if l.held = l.held[n:]; len(l.held) == 0 {
		l.held = nil
	}
	done := 0
	for done < len(l.look.spans) && l.look.spans[done].to < l.released {
		done++
	}
	l.look.spans = l.look.spans[done:]
}

var lineBreaks = strings.NewReplacer("\r", "", "\n", "")

func joinLines(s string) string { return lineBreaks.Replace(s) }
