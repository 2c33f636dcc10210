package results

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// fuzz feeds a parser with the recorded files of its format, and wants cases that make sense or an error.
func fuzz(f *testing.F, parse func([]byte) ([]Case, error), patterns ...string) {
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(cases []Case, err error) {
			if err != nil && len(cases) > 0 {
				t.Errorf("%d cases and %v", len(cases), err)
			}
			for _, c := range cases {
				if c.Status == Skipped && c.Count > 0 || c.Count < 0 {
					t.Errorf("%+v", c)
				}
			}
		}
		check(parse(data))
		check(Parse(bytes.NewReader(data)))
	})
}

func FuzzJUnit(f *testing.F)  { fuzz(f, parseJUnit, "*.xml") }
func FuzzTAP(f *testing.F)    { fuzz(f, parseTAP, "*.tap") }
func FuzzMocha(f *testing.F)  { fuzz(f, parseMocha, "mocha*.json") }
func FuzzGoTest(f *testing.F) { fuzz(f, parseGoTest, "go-test*.json") }
