package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

// at is the range of part in src.
func at(t *testing.T, src, part string) core.Range {
	t.Helper()
	start := strings.Index(src, part)
	if start < 0 {
		t.Fatalf("%q is not in the source", part)
	}
	pos := func(n int) core.Pos {
		line := strings.LastIndexByte(src[:n], '\n') + 1
		return core.Pos{Line: 1 + strings.Count(src[:n], "\n"), Column: 1 + len([]rune(src[line:n])), Byte: n}
	}
	return core.Range{File: "x.hcl", Start: pos(start), End: pos(start + len(part))}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		name, src, part, want string
	}{
		{"tabs are kept", "b {\n\ta = 1\n}\n", "1", "  on x.hcl:2,6, in b:\n  2 │ \ta = 1\n    │ \t    ^\n"},
		{"wide letters", "b {\n  a = \"日本\" + 1\n}\n", "+", "  on x.hcl:2,12, in b:\n  2 │   a = \"日本\" + 1\n    │              ^\n"},
		{"several lines", "b {\n  a = [\n    1,\n  ]\n}\n", "[\n    1,\n  ]", "  on x.hcl:2,7, in b:\n  2 │   a = [\n    │       ^\n  3 │     1,\n    │     ^^\n  4 │   ]\n    │   ^\n"},
		{
			"many lines", "a = [\n1,\n2,\n3,\n4,\n5,\n6,\n7,\n]\n", "[\n1,\n2,\n3,\n4,\n5,\n6,\n7,\n]",
			"  on x.hcl:1,5:\n  1 │ a = [\n    │     ^\n  2 │ 1,\n    │ ^^\n  3 │ 2,\n    │ ^^\n  4 │ 3,\n    │ ^^\n  5 │ 4,\n    │ ^^\n  6 │ 5,\n    │ ^^\n    │ …\n",
		},
		{"carriage returns", "b {\r\n  a = 1\r\n}\r\n", "1", "  on x.hcl:2,7, in b:\n  2 │   a = 1\n    │       ^\n"},
		{"what a terminal would obey", "a = \"\x1b[2J\u202e\"\n", "a", "  on x.hcl:1,1:\n  1 │ a = \"\uFFFD[2J\uFFFD\"\n    │ ^\n"},
		{"end of the file", "a = ", "", "  on x.hcl:1,1:\n  1 │ a = \n    │ ^\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := core.Diagnostic{Summary: "Wrong", Range: at(t, tt.src, tt.part)}
			if tt.part == "" {
				d.Range.End.Byte = len(tt.src)
			}
			got := Format(core.Diagnostics{d}, Sources{"x.hcl": []byte(tt.src)}, false)
			if want := "Error: Wrong\n\n" + tt.want; tt.part != "" && got != want {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
}

func TestFormatColor(t *testing.T) {
	src := "a = 1\n"
	d := core.Diagnostic{Warning: true, Summary: "Odd", Detail: "Mend it.", Range: at(t, src, "1")}
	got := Format(core.Diagnostics{d}, Sources{"x.hcl": []byte(src)}, true)
	want := "\x1b[1;33mWarning:\x1b[0m \x1b[1mOdd\x1b[0m\n\n  on x.hcl:1,5:\n" +
		"  \x1b[2m1 │\x1b[0m a = 1\n  \x1b[2m  │\x1b[0m     \x1b[1;33m^\x1b[0m\n\n  Mend it.\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestFormatLongLine(t *testing.T) {
	src := "a = [" + strings.Repeat("1, ", 1000) + "x" + strings.Repeat(", 2", 1000) + "]\n"
	got := Format(core.Diagnostics{{Summary: "Wrong", Range: at(t, src, "x")}}, Sources{"x.hcl": []byte(src)}, false)
	lines := strings.Split(got, "\n")
	code, under := lines[3], lines[4]
	if len(code) > 200 || !strings.Contains(code, "x") || len([]rune(code[:strings.IndexByte(code, 'x')])) != len([]rune(under))-1 {
		t.Errorf("got\n%s\n%s", code, under)
	}
}

// TestJSON holds the names and the nesting of `terraform validate -json`.
func TestJSON(t *testing.T) {
	src := "stage \"build\" \"app\" {\n  comand = [\n    \"make\",\n  ]\n}\n"
	diags := core.Diagnostics{
		{Summary: "Unknown argument", Detail: "Did you mean \"command\"?", Range: at(t, src, "comand")},
		{Summary: "Wrong value", Range: at(t, src, "[\n    \"make\",\n  ]")},
		{Warning: true, Summary: "Elsewhere"},
	}
	got, err := JSON(diags, Sources{"x.hcl": []byte(src)})
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "format_version": "1.0",
  "valid": false,
  "error_count": 2,
  "warning_count": 1,
  "diagnostics": [
    {
      "severity": "error",
      "summary": "Unknown argument",
      "detail": "Did you mean \"command\"?",
      "range": {
        "filename": "x.hcl",
        "start": {
          "line": 2,
          "column": 3,
          "byte": 24
        },
        "end": {
          "line": 2,
          "column": 9,
          "byte": 30
        }
      },
      "snippet": {
        "context": "stage \"build\" \"app\"",
        "code": "  comand = [",
        "start_line": 2,
        "highlight_start_offset": 2,
        "highlight_end_offset": 8,
        "values": []
      }
    },
    {
      "severity": "error",
      "summary": "Wrong value",
      "detail": "",
      "range": {
        "filename": "x.hcl",
        "start": {
          "line": 2,
          "column": 12,
          "byte": 33
        },
        "end": {
          "line": 4,
          "column": 4,
          "byte": 50
        }
      },
      "snippet": {
        "context": "stage \"build\" \"app\"",
        "code": "  comand = [\n    \"make\",\n  ]",
        "start_line": 2,
        "highlight_start_offset": 11,
        "highlight_end_offset": 28,
        "values": []
      }
    },
    {
      "severity": "warning",
      "summary": "Elsewhere",
      "detail": ""
    }
  ]
}
`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
	empty, err := JSON(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Valid       bool  `json:"valid"`
		Diagnostics []any `json:"diagnostics"`
	}
	if err := json.Unmarshal(empty, &r); err != nil || !r.Valid || r.Diagnostics == nil {
		t.Errorf("got %s, %v", empty, err)
	}
}
