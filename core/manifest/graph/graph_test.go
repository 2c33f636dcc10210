package graph

import (
	"encoding/xml"
	"errors"
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
	got := SVG(shop())
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
	if counts["rect"] != 5 || counts["path"] != 4 || counts["text"] != 5 {
		t.Errorf("got %v in\n%s", counts, got)
	}
	boxes, width, height := place(nodes(shop()))
	for a, x := range boxes {
		if x.x < 0 || x.x+x.w > width || x.y+boxH > height {
			t.Errorf("%s lies outside: %v of %dx%d", a, x, width, height)
		}
		for b, y := range boxes {
			if a != b && x.x < y.x+y.w && y.x < x.x+x.w && x.y < y.y+boxH && y.y < x.y+boxH {
				t.Errorf("%s covers %s", a, b)
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
