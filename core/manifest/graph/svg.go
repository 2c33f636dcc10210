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
	gapX    = 56
	gapY    = 18
	margin  = 16
	padding = 14
)

type box struct{ x, y, w int }

// SVG draws from left to right. A dashed stage runs on a condition, which its tooltip tells.
func SVG(p *core.Pipeline) string {
	all := nodes(p)
	boxes, width, height := place(all)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n",
		width, height, width, height, html.EscapeString("pipeline "+p.Name))
	b.WriteString(`<g font-family="monospace" font-size="13" fill="none" stroke="#555">` + "\n")
	for _, n := range all {
		to := boxes[n.ID()]
		for _, id := range n.after {
			from := boxes[id]
			x1, y1, x2, y2 := from.x+from.w, from.y+boxH/2, to.x, to.y+boxH/2
			fmt.Fprintf(&b, `<path d="M%d %d C%d %d %d %d %d %d"/>`+"\n", x1, y1, x1+gapX/2, y1, x2-gapX/2, y2, x2, y2)
		}
	}
	for _, n := range all {
		at := boxes[n.ID()]
		dash, title := "", html.EscapeString(string(n.ID()))
		if c := conditions(n.Stage); c != "" {
			dash = ` stroke-dasharray="5 3"`
			title += ": " + html.EscapeString(c)
		}
		fmt.Fprintf(&b, `<g><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="#fff"%s/>`, title, at.x, at.y, at.w, boxH, dash)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#111" stroke="none">%s</text></g>`+"\n", at.x+padding, at.y+boxH/2+5, html.EscapeString(string(n.ID())))
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// place puts each level into a column of its own.
func place(all []node) (boxes map[core.StageID]box, width, height int) {
	boxes = map[core.StageID]box{}
	x, y, column, level := margin, margin, 0, 0
	for _, n := range all {
		if n.level != level {
			x, y, column, level = x+column+gapX, margin, 0, n.level
		}
		w := utf8.RuneCountInString(string(n.ID()))*letter + 2*padding
		boxes[n.ID()] = box{x, y, w}
		column = max(column, w)
		y += boxH + gapY
		height = max(height, y)
	}
	return boxes, x + column + margin, height - gapY + margin
}
