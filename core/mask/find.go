package mask

import (
	"slices"
	"strings"
)

// span is a part of a text, in bytes.
type span struct{ from, to int }

// finder finds many texts in one pass, in the manner of Aho and Corasick: its states are the beginnings of the texts,
// and each knows the longest other beginning that it ends with. The time depends on the length of what is searched
// alone, neither on the number of texts nor on how alike they are.
type finder struct {
	root  [256]int32 // 0: stay
	nodes []node
}

type node struct {
	child, sibling int32 // 0: none
	fail           int32
	depth          int32 // bytes since the root
	longest        int32 // of the texts that end here, bytes; 0: none
	open           int32 // of what goes on: the longest end, up to here, with which a longer text begins
	letter         byte
}

// newFinder takes texts that are not empty.
func newFinder(texts map[string]bool) *finder {
	f := &finder{nodes: make([]node, 1)}
	for t := range texts {
		at := int32(0)
		for i := range len(t) {
			next := f.child(at, t[i])
			if next == 0 {
				next = int32(len(f.nodes))
				f.nodes = append(f.nodes, node{letter: t[i], sibling: f.nodes[at].child, depth: f.nodes[at].depth + 1})
				f.nodes[at].child = next
				if at == 0 {
					f.root[t[i]] = next
				}
			}
			at = next
		}
		f.nodes[at].longest = f.nodes[at].depth
	}
	f.link()
	return f
}

// link sets the fallback of each state, those near the root first.
func (f *finder) link() {
	queue := []int32{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for c := f.nodes[at].child; c != 0; c = f.nodes[c].sibling {
			if at != 0 {
				n := &f.nodes[c]
				n.fail = f.next(f.nodes[at].fail, n.letter)
				n.longest = max(n.longest, f.nodes[n.fail].longest)
			}
			if n := &f.nodes[c]; n.child != 0 {
				n.open = n.depth
			} else {
				n.open = f.nodes[n.fail].open
			}
			queue = append(queue, c)
		}
	}
}

func (f *finder) child(at int32, letter byte) int32 {
	if at == 0 {
		return f.root[letter]
	}
	c := f.nodes[at].child
	for c != 0 && f.nodes[c].letter != letter {
		c = f.nodes[c].sibling
	}
	return c
}

// next is the state after one more byte.
func (f *finder) next(at int32, letter byte) int32 {
	for at != 0 {
		if c := f.child(at, letter); c != 0 {
			return c
		}
		at = f.nodes[at].fail
	}
	return f.root[letter]
}

// search is a finder's way through a text that comes in parts. The spans are in order and do not touch.
type search struct {
	*finder
	state int32
	at    int // bytes seen
	spans []span
}

// cuts are what stands where a text was cut: a secret may have been cut with it.
var cuts = []string{"…", "\uFFFD"}

// take searches the next part.
func (s *search) take(text string) {
	state, nodes := s.state, s.nodes
	for i := range len(text) {
		if text[i] >= 0xe2 && nodes[state].depth >= MinSecret && (strings.HasPrefix(text[i:], cuts[0]) || strings.HasPrefix(text[i:], cuts[1])) {
			s.spans = merge(s.spans, span{s.at + i - int(nodes[state].depth), s.at + i})
		}
		if state == 0 {
			state = s.root[text[i]]
		} else {
			state = s.next(state, text[i])
		}
		if n := nodes[state].longest; n > 0 {
			s.spans = merge(s.spans, span{s.at + i + 1 - int(n), s.at + i + 1})
		}
	}
	s.state = state
	s.at += len(text)
}

// merge adds a span, by its end in order, to spans that do not touch.
func merge(spans []span, x span) []span {
	for n := len(spans); n > 0 && spans[n-1].to >= x.from; n = len(spans) {
		x.from = min(x.from, spans[n-1].from)
		x.to = max(x.to, spans[n-1].to)
		spans = spans[:n-1]
	}
	return append(spans, x)
}

// open is how many of the last bytes are the beginning of a text, when that is worth hiding.
func (s *search) open() int {
	if n := int(s.nodes[s.state].open); n >= MinSecret {
		return n
	}
	return 0
}

// find returns where texts stand in s, which may be spread over lines.
func (f *finder) find(s string) []span {
	look := search{finder: f}
	if !strings.ContainsAny(s, "\r\n") {
		look.take(s)
		return look.spans
	}
	joined := make([]int, 0, len(s)+1) // where each byte of the joined text stands in s
	rest := s
	for at := 0; rest != ""; {
		n := strings.IndexAny(rest, "\r\n")
		if n < 0 {
			n = len(rest)
		}
		look.take(rest[:n])
		for i := range n {
			joined = append(joined, at+i)
		}
		n = min(n+1, len(rest))
		at, rest = at+n, rest[n:]
	}
	for i, x := range look.spans {
		look.spans[i] = span{joined[x.from], joined[x.to-1] + 1}
	}
	return look.spans
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

// within cuts spans to the part of a text from one place to another, relative to its start.
func within(spans []span, from, to int) []span {
	i, _ := slices.BinarySearchFunc(spans, from, func(x span, at int) int { return x.to - at - 1 })
	var out []span
	for ; i < len(spans) && spans[i].from < to; i++ {
		out = append(out, span{max(spans[i].from, from) - from, min(spans[i].to, to) - from})
	}
	return out
}
