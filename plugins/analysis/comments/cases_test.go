package comments

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCases(t *testing.T) {
	tests := map[string]Count{
		"attributes.php": {0, 4}, "char-literal.rs": {3, 5}, "raw-string.rs": {1, 3}, "heredoc.tf": {1, 5},
		"argument-string.py": {0, 5}, "template-in-template.js": {2, 7}, "attribute-and-comment.php": {5, 12},
		"heredoc-and-nowdoc.php": {1, 9}, "byte-literal-and-nested-block.rs": {5, 10}, "heredoc-apostrophe.sh": {3, 11},
		"dollar-quote.bash": {3, 5}, "heredoc-indented.tf": {2, 9}, "docstring-or-argument.py": {5, 14}, "url-in-inner-template.js": {4, 7},
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("testdata", file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		want, ok := tests[file.Name()]
		if got, _ := Of(file.Name(), text); !ok || got != want {
			t.Errorf("%s: got %+v, want %+v", file.Name(), got, want)
		}
	}
	if len(files) != len(tests) {
		t.Errorf("%d files, %d values", len(files), len(tests))
	}
}
