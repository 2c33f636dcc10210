package coverage

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// fuzz feeds a parser with the recorded files of its format and given text. What is read must make sense, and its
// union with itself must say the same.
func fuzz(f *testing.F, parse func([]byte, builder) error, pattern string, more ...string) {
	for _, text := range more {
		f.Add([]byte(text))
	}
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	if len(names)+len(more) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Parse(bytes.NewReader(data))
		b := builder{}
		if parse(data, b) != nil {
			return
		}
		r := b.report()
		for _, kind := range Kinds() {
			c, ok := r.Total(kind)
			if c.Covered < 0 || c.Covered > c.Total || !ok && c.Total > 0 {
				t.Errorf("%s: %+v, %v", kind, c, ok)
			}
		}
		if one, two := text(r), text(Merge(r, r)); one != two {
			t.Errorf("united with itself:\n%s\n%s", one, two)
		}
	})
}

func FuzzLcov(f *testing.F) {
	fuzz(f, parseLcov, "lcov*.info", "SF:a\nFN:1,4,f<a, b>\nFNDA:1,f<a, b>\nLF:3\nLH:9\nend_of_record\n")
}

func FuzzCobertura(f *testing.F) { fuzz(f, parseCobertura, "cober*.xml") }

func FuzzGoProfile(f *testing.F) { fuzz(f, parseGoProfile, "*.out") }

func FuzzIstanbul(f *testing.F) { fuzz(f, parseIstanbul, "*.json") }

func FuzzClover(f *testing.F) {
	fuzz(f, parseClover, "*.clover", `<coverage generated="1"><project><file name="a.php"><line num="5" type="stmt" count="1"/><line num="8" type="method" count="0"/><metrics methods="1" coveredmethods="1" conditionals="2" coveredconditionals="3" statements="1" coveredstatements="1"/></file></project></coverage>`)
}
