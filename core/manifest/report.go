package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/seed-b96de936/troop/core"
)

// The shape of `terraform validate -json`.
type (
	report struct {
		FormatVersion string           `json:"format_version"`
		Valid         bool             `json:"valid"`
		ErrorCount    int              `json:"error_count"`
		WarningCount  int              `json:"warning_count"`
		Diagnostics   []jsonDiagnostic `json:"diagnostics"`
	}
	jsonDiagnostic struct {
		Severity string       `json:"severity"`
		Summary  string       `json:"summary"`
		Detail   string       `json:"detail"`
		Range    *core.Range  `json:"range,omitempty"`
		Snippet  *jsonSnippet `json:"snippet,omitempty"`
	}
	jsonSnippet struct {
		Context              *string    `json:"context"`
		Code                 string     `json:"code"`
		StartLine            int        `json:"start_line"`
		HighlightStartOffset int        `json:"highlight_start_offset"` // bytes in Code
		HighlightEndOffset   int        `json:"highlight_end_offset"`
		Values               []struct{} `json:"values"`
	}
)

// JSON renders diagnostics in the shape of `terraform validate -json`, so that tools that read that read this.
func JSON(diags core.Diagnostics, sources Sources) ([]byte, error) {
	r := report{FormatVersion: "1.0", Valid: !diags.HasErrors(), Diagnostics: []jsonDiagnostic{}}
	for _, d := range diags {
		j := jsonDiagnostic{Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Warning {
			j.Severity = "warning"
			r.WarningCount++
		} else {
			r.ErrorCount++
		}
		if d.Range.File != "" {
			shown := exact(d.Range, sources[d.Range.File])
			shown.File = display(shown.File)
			j.Range = &shown
			if src, ok := sources[d.Range.File]; ok && utf8.Valid(src) {
				j.Snippet = jsonSnippetOf(src, d.Range)
			}
		}
		r.Diagnostics = append(r.Diagnostics, j)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode diagnostics: %w", err)
	}
	return append(text, '\n'), nil
}

func jsonSnippetOf(src []byte, r core.Range) *jsonSnippet {
	start, end := clamp(r.Start.Byte, src), clamp(r.End.Byte, src)
	end = max(start, end)
	first := bytes.LastIndexByte(src[:start], '\n') + 1
	last := end
	if last > start && src[last-1] == '\n' {
		last--
	}
	if i := bytes.IndexByte(src[last:], '\n'); i >= 0 {
		last += i
	} else {
		last = len(src)
	}
	s := &jsonSnippet{
		Code: string(src[first:last]), StartLine: r.Start.Line, Values: []struct{}{},
		HighlightStartOffset: start - first, HighlightEndOffset: min(end, last) - first,
	}
	if context := enclosing(src, r.Start.Byte); context != "" {
		s.Context = &context
	}
	return s
}
