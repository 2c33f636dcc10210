package lint

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// fuzz runs a parser on mutations of the files in testdata that it reads. Whatever the output is, a parser ends,
// and what it finds can be shown.
func fuzz(f *testing.F, seeds func(name string) bool, parse func(t *testing.T, out []byte) ([]Finding, error)) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if !file.IsDir() && seeds(file.Name()) {
			f.Add(read(f, file.Name()))
		}
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		list, err := parse(t, out)
		if err != nil && len(list) > 0 {
			t.Errorf("findings beside an error: %v", err)
		}
		for _, found := range list {
			switch found.Severity {
			case "error", "warning", "note":
			default:
				t.Errorf("severity %q", found.Severity)
			}
			if strings.ContainsAny(found.Message, "\r\n") || utf8.Valid(out) && !utf8.ValidString(found.Message) {
				t.Errorf("message %q", found.Message)
			}
		}
	})
}

func suffixed(suffix ...string) func(string) bool {
	return func(name string) bool {
		for _, s := range suffix {
			if strings.HasSuffix(name, s) {
				return true
			}
		}
		return false
	}
}

func FuzzAuto(f *testing.F) {
	fuzz(f, func(string) bool { return true }, func(_ *testing.T, out []byte) ([]Finding, error) { return Parse("auto", out, anywhere) })
}

// FuzzFormats reads the output as every format in turn.
func FuzzFormats(f *testing.F) {
	fuzz(f, func(string) bool { return true }, func(t *testing.T, out []byte) (all []Finding, _ error) {
		for _, format := range Formats() {
			list, err := Parse(format, out, anywhere)
			if err != nil && len(list) > 0 {
				t.Errorf("%s: findings beside an error: %v", format, err)
			}
			all = append(all, list...)
		}
		return all, nil
	})
}

func FuzzJSON(f *testing.F) {
	fuzz(f, suffixed(".json", ".json1", ".jsonl"), func(_ *testing.T, out []byte) ([]Finding, error) {
		docs, _, err := split(out)
		if err != nil {
			return nil, err
		}
		list, err := readJSON(docs, "")
		for i := range list {
			list[i].Message = oneLine(strings.ToValidUTF8(list[i].Message, ""))
		}
		return list, err
	})
}

func FuzzSARIF(f *testing.F) {
	f.Add([]byte(sarifOf(`"invocations":[{"executionSuccessful":false}],"results":[{"ruleId":"CA1/2","message":{"id":"why","arguments":["x"]},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"b","uriBaseId":"SRC"}}}]}],"originalUriBaseIds":{"SRC":{"uri":"lib/","uriBaseId":"SRC"}}`)))
	fuzz(f, func(name string) bool { return strings.Contains(name, "sarif") }, func(_ *testing.T, out []byte) ([]Finding, error) {
		return Parse("sarif", out, anywhere)
	})
}

func FuzzXML(f *testing.F) {
	fuzz(f, suffixed(".xml"), func(_ *testing.T, out []byte) ([]Finding, error) { return Parse("checkstyle", out, anywhere) })
}

func FuzzText(f *testing.F) {
	fuzz(f, suffixed(".txt"), func(_ *testing.T, out []byte) ([]Finding, error) { return Parse("unix", out, anywhere) })
}
