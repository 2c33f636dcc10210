package notify

import (
	"bytes"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/png"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/plain"
)

// Message is what a person reads.
type Message struct {
	Subject string // one line, also for an SMS
	Body    string
	Lines   []Line
	Page    string // where to read more
}

// Line is what a message says of one alert.
type Line struct {
	core.Event
	Count int    // events that it stands for
	Note  string // what they have been, when that is not plain

	flaps    bool
	cooldown time.Duration
}

var marks = map[core.Severity]string{core.Alert: "ALERT", core.Resolved: "RESOLVED", core.Warning: "WARNING", core.Info: "INFO"}

// mostLines of a message; the rest is counted.
const mostLines = 50

// compose writes the message for some lines.
func compose(n core.Notifier, lines []Line) Message {
	m := Message{Subject: "[troop] " + summary(lines), Lines: lines, Page: page(n, lines)}
	var b strings.Builder
	if len(lines) > 1 {
		for _, l := range lines[:min(len(lines), mostLines)] {
			fmt.Fprintf(&b, "%-8s %s\n", marks[l.Severity], l.said())
		}
		if more := len(lines) - mostLines; more > 0 {
			fmt.Fprintf(&b, "and %d more\n", more)
		}
		b.WriteString("\n")
	}
	for _, l := range lines[:min(len(lines), 5)] {
		b.WriteString(plain.Line(l.Summary) + "\n\n")
		for _, f := range l.fields() {
			fmt.Fprintf(&b, "%-12s %s\n", f[0]+":", f[1])
		}
		if l.Note != "" {
			fmt.Fprintf(&b, "\nNote: %s.\n", l.Note)
		}
		b.WriteString("\n")
	}
	if m.Page != "" {
		b.WriteString(m.Page + "\n")
	}
	m.Body = strings.TrimRight(b.String(), "\n") + "\n"
	return m
}

// page is where a run, or the environment of an alert, is shown.
func page(n core.Notifier, lines []Line) string {
	switch base := strings.TrimRight(n.Page, "/"); {
	case base == "":
		return ""
	case lines[0].Run != "":
		return base + "/runs/" + string(lines[0].Run)
	default:
		return base + "/environments/" + lines[0].Environment
	}
}

// summary says in one line what some lines are about: a whole one, or how many of what.
func summary(lines []Line) string {
	if len(lines) == 1 {
		return oneLine(fmt.Sprintf("%s %s", marks[lines[0].Severity], lines[0].said()))
	}
	counts := map[string]int{}
	hosts := map[string]bool{}
	for _, l := range lines {
		counts[marks[l.Severity]]++
		hosts[l.where()] = true
	}
	var parts []string
	for _, mark := range []string{"ALERT", "WARNING", "RESOLVED", "INFO"} {
		if n := counts[mark]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, mark))
		}
	}
	where := slices.Sorted(maps.Keys(hosts))
	if len(where) > 3 {
		where = append(where[:3], fmt.Sprintf("%d more", len(where)-3))
	}
	return oneLine(fmt.Sprintf("%s on %s: %s, …", strings.Join(parts, ", "), strings.Join(where, ", "), lines[0].Summary))
}

func (l Line) where() string {
	if l.Host == "" {
		return l.Environment
	}
	return strings.TrimPrefix(l.Environment+"/"+string(l.Host), "/")
}

// said is a line of a list.
func (l Line) said() string {
	text := strings.TrimPrefix(l.where()+": "+l.Summary, ": ")
	if l.Count > 1 {
		text += fmt.Sprintf(" (%d times)", l.Count)
	}
	return oneLine(text)
}

// fields are what is known of an event, by name.
func (l Line) fields() (all [][2]string) {
	add := func(name string, value any) {
		if s := plain.Line(fmt.Sprint(value)); s != "" && value != nil {
			all = append(all, [2]string{plain.Line(name), s})
		}
	}
	add("time", l.Time.UTC().Format(time.RFC3339))
	add("environment", l.Environment)
	add("host", l.Host)
	add("role", l.Role)
	add("run", l.Run)
	add("source", l.Source)
	add("event", l.Kind)
	for _, k := range slices.Sorted(maps.Keys(l.Data)) {
		add(k, l.Data[k])
	}
	return all
}

// oneLine keeps line ends, which a process can put into its own name, out of mail headers.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(plain.Line(strings.NewReplacer("\r", " ", "\n", " ").Replace(s))), " ")
	return cut(s, 200)
}

// figure is a number of an alert beside its limit, or how it went.
type figure struct {
	Name    string
	Value   float64
	Limit   float64
	Percent int // of the limit, for a bar
	series  []float64
}

// figures are the numbers of a line: each NAME that has a NAME_limit, or the only limit, and each list of numbers.
func (l Line) figures() (all []figure) {
	for _, k := range slices.Sorted(maps.Keys(l.Data)) {
		if list, ok := l.Data[k].([]any); ok {
			f := figure{Name: plain.Line(k)}
			for _, x := range list {
				if v, ok := core.Number(x); ok {
					f.series = append(f.series, v)
				}
			}
			if len(f.series) > 1 && len(f.series) == len(list) {
				f.Value = f.series[len(f.series)-1]
				all = append(all, f)
			}
			continue
		}
		v, ok := core.Number(l.Data[k])
		limit, limited := core.Number(l.Data[k+"_limit"])
		if !limited {
			limit, limited = core.Number(l.Data["limit"])
		}
		if ok && limited && limit > 0 && k != "limit" && !strings.HasSuffix(k, "_limit") {
			all = append(all, figure{Name: plain.Line(k), Value: v, Limit: limit, Percent: int(min(max(100*v/limit, 0), 200) / 2)})
		}
	}
	return all
}

// picture draws the course of a figure: the newest on the right. Mail programs show no SVG.
func (f figure) picture() []byte {
	const width, height = 360, 90
	points := f.series[max(0, len(f.series)-width):]
	top := slices.Max(points)
	img := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{color.White, color.RGBA{0xc0, 0x39, 0x2b, 0xff}, color.RGBA{0xdd, 0xdd, 0xdd, 0xff}})
	for x := range width {
		img.SetColorIndex(x, height-1, 2)
		if v := points[x*len(points)/width]; top > 0 && v > 0 {
			for y := height - 1 - int(v/top*(height-2)); y < height-1; y++ {
				img.SetColorIndex(x, y, 1)
			}
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, img) // into memory
	return b.Bytes()
}

// attachment is a picture that the HTML shows by its name.
type attachment struct {
	name string
	data []byte
}

var mailPage = template.Must(template.New("mail").Parse(`<!DOCTYPE html>
<html><body style="font-family:sans-serif;font-size:14px;color:#222">
<p><b>{{.Subject}}</b></p>
{{if gt (len .Lines) 1}}<table cellpadding="4" style="border-collapse:collapse">{{range .Lines}}
<tr style="border-bottom:1px solid #ddd"><td style="color:{{.Color}}"><b>{{.Mark}}</b></td><td>{{.Said}}</td></tr>{{end}}
{{if .More}}<tr><td></td><td>and {{.More}} more</td></tr>{{end}}</table>{{end}}
{{range .Details}}<p style="color:{{.Color}}"><b>{{.Mark}}</b> {{.Said}}</p>
{{range .Figures}}<p>{{.Name}}: <b>{{printf "%.4g" .Value}}</b>{{if .Limit}} (limit {{printf "%.4g" .Limit}})
<table width="300" cellspacing="0" cellpadding="0" style="border:1px solid #ccc"><tr><td width="{{.Percent}}%" height="10" bgcolor="#c0392b"></td><td height="10"></td></tr></table>{{end}}
{{if .Picture}}<br><img src="cid:{{.Picture}}" width="360" height="90" alt="the course of {{.Name}}">{{end}}</p>{{end}}
<table cellpadding="2">{{range .Fields}}<tr><td style="color:#777">{{index . 0}}</td><td>{{index . 1}}</td></tr>{{end}}</table>
{{if .Note}}<p>Note: {{.Note}}.</p>{{end}}{{end}}
{{if .Page}}<p><a href="{{.Page}}">{{.Page}}</a></p>{{end}}
</body></html>
`))

// html is the message for mail programs, with the pictures that it shows.
func (m Message) html() (string, []attachment, error) {
	type shown struct {
		figure
		Picture string
	}
	type detail struct {
		Color, Mark, Said, Note string
		Figures                 []shown
		Fields                  [][2]string
	}
	var files []attachment
	view := struct {
		Subject, Page  string
		Lines, Details []detail
		More           int
	}{Subject: m.Subject, Page: m.Page, More: max(0, len(m.Lines)-mostLines)}
	for i, l := range m.Lines[:min(len(m.Lines), mostLines)] {
		d := detail{Color: "#c0392b", Mark: marks[l.Severity], Said: l.said(), Note: l.Note}
		if l.Severity == core.Resolved || l.Severity == core.Info {
			d.Color = "#1e8449"
		}
		view.Lines = append(view.Lines, d)
		if i >= 5 {
			continue
		}
		d.Fields = l.fields()
		for _, f := range l.figures() {
			s := shown{figure: f}
			if len(f.series) > 0 {
				s.Picture = fmt.Sprintf("figure%d.png", len(files)+1)
				files = append(files, attachment{s.Picture, f.picture()})
			}
			d.Figures = append(d.Figures, s)
		}
		view.Details = append(view.Details, d)
	}
	var b strings.Builder
	err := mailPage.Execute(&b, view)
	return b.String(), files, err
}
