package graph

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

func shop() *core.Pipeline {
	return &core.Pipeline{Name: "shop", Stages: []core.Stage{
		{Type: "deploy", Name: "app", Needs: []core.StageID{"build.app", "lint.all", "test.unit"}, When: core.When{Branches: []string{"main", "a<b"}}},
		{Type: "build", Name: "app"},
		{Type: "test", Name: "unit", Needs: []core.StageID{"build.app"}},
		{Type: "lint", Name: "all", When: core.When{Paths: core.Paths{"**", "!docs"}}},
		{Type: "watch", Name: "hosts", Needs: []core.StageID{"build.app", "deploy.app"}},
	}}
}

func TestText(t *testing.T) {
	want := `  1  build.app
     lint.all     when changes in **, !docs
  2  test.unit    after build.app
  3  deploy.app   after lint.all, test.unit  when branches main, a<b
  4  watch.hosts  after deploy.app
`
	if got := Text(shop()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDOT(t *testing.T) {
	want := `digraph "shop" {
  rankdir = LR
  node [shape = box, fontname = "sans-serif"]
  "build.app"
  "lint.all" [style = dashed, tooltip = "when changes in **, !docs"]
  "test.unit"
  "build.app" -> "test.unit"
  "deploy.app" [style = dashed, tooltip = "when branches main, a<b"]
  "lint.all" -> "deploy.app"
  "test.unit" -> "deploy.app"
  "watch.hosts"
  "deploy.app" -> "watch.hosts"
}
`
	if got := DOT(shop()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSVG(t *testing.T) {
	p := shop()
	p.Stages = append(p.Stages, core.Stage{Type: "build", Name: "big-library"})
	p.Stages[4].Needs = append(p.Stages[4].Needs, "build.big-library") // watch.hosts
	got := SVG(p)
	counts := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(got)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, got)
		}
		if e, ok := token.(xml.StartElement); ok {
			counts[e.Name.Local]++
		}
	}
	if counts["rect"] != 6 || counts["path"] != 1+5 || counts["text"] != 6 { // one path is the arrow
		t.Errorf("got %v in\n%s", counts, got)
	}
	d := place(nodes(p))
	boxes := map[string]box{}
	for id, b := range d.boxes {
		boxes[string(id)] = b
	}
	for e, lanes := range d.lanes {
		for i, b := range lanes {
			boxes[fmt.Sprintf("lane %d of %v", i, e)] = b
		}
	}
	if len(boxes) != 6+3 { // build.big-library passes two columns on its way, lint.all one
		t.Errorf("got %v", boxes)
	}
	for a, x := range boxes {
		if x.x < 0 || x.x+x.w > d.width || x.y+x.h > d.height {
			t.Errorf("%s lies outside: %v of %dx%d", a, x, d.width, d.height)
		}
		for b, y := range boxes {
			if a != b && x.x < y.x+y.w && y.x < x.x+x.w && x.y < y.y+y.h && y.y < x.y+x.h {
				t.Errorf("%s covers %s", a, b)
			}
			if x.x == y.x && x.w != y.w {
				t.Errorf("%s is wider than %s above or below it", a, b)
			}
		}
	}
}

// TestCircle holds that a pipeline that the manifest refuses does not hang the drawing.
func TestCircle(t *testing.T) {
	p := &core.Pipeline{Stages: []core.Stage{
		{Type: "a", Name: "a", Needs: []core.StageID{"b.b"}}, {Type: "b", Name: "b", Needs: []core.StageID{"a.a"}}, {Type: "c", Name: "c"},
	}}
	if got := Text(p); got != "  1  c.c\n" {
		t.Errorf("got %q", got)
	}
}
