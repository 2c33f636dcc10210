package ui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/seed-b96de936/troop/core"
)

// table is aligned columns of text.
type table struct {
	columns []string
	rows    [][]string
}

// Table prints a table: aligned for people, a list of objects with --json.
func (u *UI) Table(t core.Table) {
	u.mu.Lock()
	defer u.mu.Unlock()
	tab := table{t.Columns, t.Rows}
	if u.options.JSON {
		u.encode(tab.objects())
		return
	}
	_, _ = u.out.Write([]byte(tab.text(u.style))) // a closed pipe is the reader's wish
}

func tableOf(e core.Event) table {
	t := table{columns: list(e.Data["columns"])}
	switch rows := e.Data["rows"].(type) {
	case [][]string:
		t.rows = rows
	case []any:
		for _, r := range rows {
			t.rows = append(t.rows, list(r))
		}
	}
	return t
}

func (t table) text(s style) string {
	var widths []int
	measure := func(cells []string) {
		for i, c := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], ansi.StringWidth(clean(c)))
		}
	}
	measure(t.columns)
	for _, r := range t.rows {
		measure(r)
	}
	var b strings.Builder
	write := func(cells []string, paint func(string) string) {
		var line strings.Builder
		for i, c := range cells {
			c = clean(c)
			line.WriteString(c + strings.Repeat(" ", widths[i]-ansi.StringWidth(c)+2))
		}
		b.WriteString(paint(strings.TrimRight(line.String(), " ")) + "\n")
	}
	if len(t.columns) > 0 {
		write(t.columns, s.bold)
	}
	for _, r := range t.rows {
		write(r, func(l string) string { return l })
	}
	return b.String()
}

// objects gives each row the names of the columns, in the lower case and with underscores.
func (t table) objects() []map[string]string {
	out := make([]map[string]string, 0, len(t.rows))
	for _, r := range t.rows {
		o := map[string]string{}
		for i, c := range r {
			if i < len(t.columns) {
				o[strings.ReplaceAll(strings.ToLower(t.columns[i]), " ", "_")] = c
			}
		}
		out = append(out, o)
	}
	return out
}
