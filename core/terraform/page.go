package terraform

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"place": place,
	"list":  list,
	"time":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"short": name,
	"add":   func(a, b int) int { return a + b },
	"cut": func(s string) string { // to the width of a box
		const fits = 26
		if r := []rune(s); len(r) > fits {
			return string(r[:fits-1]) + "…"
		}
		return s
	},
}).Parse(pageText))

// HTML returns the review as a self-contained page.
func (r *Review) HTML() ([]byte, error) {
	var b bytes.Buffer
	if err := page.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("make page: %w", err)
	}
	return b.Bytes(), nil
}
