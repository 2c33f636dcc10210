package graph

import (
	"fmt"
	"html"
	"strings"
	"unicode/utf8"

	"github.com/seed-b96de936/troop/core"
)

// Measures of an SVG drawing, in pixels.
const (
	letter  = 8 // of a 13 px monospaced font
	boxH    = 34
	laneH   = 10 // of an edge that passes a column
	gapX    = 56
	gapY    = 18
	margin  = 16
	padding = 14
	arrow   = 7
)

// edge is a need that is drawn.
type edge struct{ from, to core.StageID }

// drawing is where things stand. Each level has a column; an edge that passes a column has a lane of its own there, so
// that no line runs behind a box.
type drawing struct {
	boxes         map[core.StageID]box
	lanes         map[edge][]box // in the order in which the edge passes them
	width, height int
}

type box struct{ x, y, w, h int }

func (b box) middle() int { return b.y + b.h/2 }

// SVG draws from left to right. A dashed stage runs on a condition, which its tooltip tells.
func SVG(p *core.Pipeline) string { return Styled(p, func(core.StageID) Look { return Look{} }) }

// Look is how a stage shows on a page.
type Look struct {
	Class string // for the page's style sheet
	Title string // tooltip, instead of the conditions
	Href  string // where a click leads
}

// Styled is SVG with a look for each stage.
func Styled(p *core.Pipeline, look func(core.StageID) Look) string {
	all := nodes(p)
	d := place(all)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n",
		d.width, d.height, d.width, d.height, html.EscapeString("pipeline "+p.Name))
	fmt.Fprintf(&b, `<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="%d" markerHeight="%d" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>`+"\n",
		arrow, arrow)
	b.WriteString(`<g font-family="monospace" font-size="13" fill="none" stroke="#555">` + "\n")
	for _, n := range all {
		for _, id := range n.after {
			fmt.Fprintf(&b, `<path d="%s" marker-end="url(#arrow)"/>`+"\n", d.path(edge{id, n.ID()}))
		}
	}
	for _, n := range all {
		at := d.boxes[n.ID()]
		dash, title := "", html.EscapeString(string(n.ID()))
		if c := conditions(n.Stage); c != "" {
			dash = ` stroke-dasharray="5 3"`
			title += ": " + html.EscapeString(c)
		}
		open, closed := "<g>", "</g>"
		if l := look(n.ID()); l != (Look{}) {
			open = fmt.Sprintf(`<a class="%s" href="%s">`, html.EscapeString(l.Class), html.EscapeString(l.Href))
			closed, title = "</a>", html.EscapeString(l.Title)
		}
		fmt.Fprintf(&b, `%s<title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="#fff"%s/>`, open, title, at.x, at.y, at.w, at.h, dash)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#111" stroke="none">%s</text>%s`+"\n", at.x+padding, at.middle()+5, html.EscapeString(string(n.ID())), closed)
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// path goes from box to box, straight along its lanes.
func (d drawing) path(e edge) string {
	from := d.boxes[e.from]
	x, y := from.x+from.w, from.middle()
	var b strings.Builder
	fmt.Fprintf(&b, "M%d %d", x, y)
	for _, to := range append(d.lanes[e], d.boxes[e.to]) {
		half := (to.x - x) / 2
		fmt.Fprintf(&b, "C%d %d %d %d %d %d", x+half, y, to.x-half, to.middle(), to.x, to.middle())
		x, y = to.x, to.middle()
		if to != d.boxes[e.to] {
			x += to.w
			fmt.Fprintf(&b, "H%d", x)
		}
	}
	return b.String()
}

// place puts each level into a column of its own, all of whose boxes are equally wide.
func place(all []node) drawing {
	d := drawing{boxes: map[core.StageID]box{}, lanes: map[edge][]box{}}
	levels := map[core.StageID]int{}
	var widths []int
	for _, n := range all {
		levels[n.ID()] = n.level
		if n.level == len(widths) {
			widths = append(widths, 0)
		}
		widths[n.level] = max(widths[n.level], utf8.RuneCountInString(string(n.ID()))*letter+2*padding)
	}
	x := margin
	for level, w := range widths {
		y := margin
		down := func(h int) box {
			b := box{x, y, w, h}
			y += h + gapY
			d.height = max(d.height, y-gapY+margin)
			return b
		}
		for _, n := range all {
			if n.level == level {
				d.boxes[n.ID()] = down(boxH)
			}
		}
		for _, n := range all {
			for _, id := range n.after {
				if levels[id] < level && level < n.level {
					d.lanes[edge{id, n.ID()}] = append(d.lanes[edge{id, n.ID()}], down(laneH))
				}
			}
		}
		x += w + gapX
	}
	d.width = max(x-gapX, margin) + margin
	d.height = max(d.height, 2*margin)
	return d
}
