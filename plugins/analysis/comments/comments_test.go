package comments

import "testing"

func TestOf(t *testing.T) {
	tests := map[string]struct {
		name, text string
		want       Count
	}{
		"empty":                    {"a.go", "", Count{}},
		"blank":                    {"a.go", "\n \t\n\r\n", Count{}},
		"line, code, both":         {"a.go", "// c\nx := 1\ny := 2 // c\n", Count{2, 3}},
		"no newline at the end":    {"a.go", "x := 1\n// c", Count{1, 2}},
		"block over lines":         {"a.c", "/* a\n\n b */ int x;\nint y; /* c */\n", Count{3, 3}},
		"block never closed":       {"a.c", "int x;\n/* a\nb\n", Count{2, 3}},
		"marks in strings":         {"a.js", "a = '// no';\nb = \"/* no\";\nc = `// no\n// no`;\n", Count{0, 4}},
		"escaped quote":            {"a.js", `a = "\"// no"; // c`, Count{1, 1}},
		"quotes in comments":       {"a.js", "// don't\nlet a = 1;\n/* \" */\nlet b;\n", Count{2, 4}},
		"regular expression":       {"a.js", "s.replace(/[\"'`/]/g, '');\nreturn /\\/\\/*'/;\nx = a / b; // c / d\n", Count{1, 3}},
		"division":                 {"a.js", "x = total / count // '\ny = (a) / 2 / 'x'.length\n", Count{1, 2}},
		"apostrophe in Rust":       {"a.rs", "fn f<'a>(x: &'a str) {} // c\n// d\n", Count{2, 2}},
		"Go raw string":            {"a.go", "x := `\\` // c\n", Count{1, 1}},
		"shebang":                  {"a.sh", "#!/bin/sh\n# c\necho $# ${#a} a#b 'it' # d\n", Count{2, 3}},
		"shell string over lines":  {"a.sh", "awk '\n# no\n' file\n", Count{0, 3}},
		"escaped shell quote":      {"a.sh", "echo \\' # c\n# d\n", Count{2, 2}},
		"docstring":                {"a.py", "def f():\n    \"\"\"Says.\n\n    More.\n    \"\"\"\n    x = \"\"\"no\n# no\n\"\"\"  # c\n", Count{4, 7}},
		"HCL":                      {"a.tf", "# a\n// b\nx = \"#{no}\"\n/* c */\n", Count{3, 4}},
		"SQL":                      {"a.sql", "-- a\nselect '--no'; -- b\n", Count{2, 2}},
		"Lua block":                {"a.lua", "--[[ a\nb ]] x = 1\n-- c\n", Count{3, 3}},
		"Ruby block":               {"a.rb", "=begin\na\n=end\nx = 1\n", Count{3, 4}},
		"HTML":                     {"a.html", "<p>// no</p>\n<!-- a\nb -->\n", Count{2, 3}},
		"CSS":                      {"a.css", "/* a */\na { content: '/*'; }\n", Count{1, 2}},
		"YAML":                     {"a.yaml", "a: b#c # d\n# e\n", Count{2, 2}},
		"byte order mark":          {"a.cs", "\uFEFF// a\nx;\n", Count{1, 2}},
		"Makefile":                 {"Makefile", "# a\nall:\n", Count{1, 2}},
		"docstring of one line":    {"a.py", "def f():\n    'Says.'\n    return 'x'\n", Count{1, 3}},
		"docstring, raw":           {"a.py", "class A:\n    r\"\"\"Says \\d.\"\"\"; x = 1\n", Count{1, 2}},
		"string that goes on":      {"a.py", "x = \\\n    \"\"\"no\n# no\"\"\"\n\"\"\"no\"\"\".strip()\n\"a\" \"b\"\n", Count{1, 5}},
		"string in brackets":       {"a.py", "f({'a':\n  \"\"\"no\"\"\"\n})\n\"\"\"yes\"\"\"\n", Count{1, 4}},
		"comment in brackets":      {"a.py", "f(  # yes\n  '# no',\n)\n", Count{1, 3}},
		"Rust docs":                {"a.rs", "//! a\n/// b\n#[inline]\nfn f() { let s = \"//\"; } // c\n", Count{3, 4}},
		"Rust lifetimes":           {"a.rs", "fn f<'a>(x: &'a str) { 'l: loop { break 'l; } } // c\nlet q = '\"'; // d\n", Count{2, 2}},
		"TypeScript":               {"a.ts", "const a: string = `//${b ? `/* ${c}` : '//'}`; // d\nlet r = /[/*]/g;\ntype T = `a${string}`;\n", Count{1, 3}},
		"TSX":                      {"a.tsx", "const a = <p>{/* why */}</p>;\nconst b = <a href=\"//x\">c</a>;\n", Count{1, 2}},
		"C preprocessor":           {"a.c", "#include <a.h>\n#define X 1 /* why */\nchar *s = \"/* no */\"; // c\nchar q = '\"'; // d\n", Count{3, 4}},
		"Java text block":          {"a.java", "String s = \"\"\"\n  // no\n  \"\"\";\n// c\n", Count{1, 4}},
		"Kotlin":                   {"a.kt", "val s = \"\"\"// no\"\"\" // c\nval t = \"${f(\"//\")}\" // d\n", Count{2, 2}},
		"C# verbatim":              {"a.cs", "var s = @\"c:\\\"; // c\nvar t = \"//\";\n", Count{1, 2}},
		"PHP in HTML":              {"a.php", "<p># no // no</p>\n<?php // c ?>\n<p>\n", Count{1, 3}},
		"PHP around HTML":          {"a.php", "<?php if ($a) { ?>\n<a href='//x'>don't # no</a>\n<!-- why -->\n<?php } // c\n", Count{2, 4}},
		"Perl here-document":       {"a.pl", "print <<\"EOT\", <<'B'; # c\n# no\nEOT\n# no\nB\n$x = 1 << BITS; # d\n", Count{2, 6}},
		"Ruby, here in here":       {"a.rb", "x <<~ONE\n  <<~TWO\n  # no\nONE\n# c\n", Count{1, 5}},
		"Dockerfile here-document": {"Dockerfile", "RUN <<EOF\n# no\nEOF\n# c\n", Count{1, 4}},
		"Ruby here-document":       {"a.rb", "x = <<~EOS\n  # no\nEOS\n# c\ny = \"#{z}\" # d\n", Count{2, 5}},
		"shell, nested":            {"a.sh", "x=\"$(echo \"a # b\")\" # c\ncat <<-A\n\t# no\n\tA\n# d\n", Count{2, 5}},
		"PowerShell":               {"a.ps1", "<# a\nb #>\n$x = \"# no\" # c\n", Count{3, 3}},
		"Dockerfile":               {"Dockerfile", "# a\nFROM b\nRUN echo '#' x\n", Count{1, 3}},
		"Elixir":                   {"a.ex", "x = \"# no\" # c\n", Count{1, 1}},
		"Perl":                     {"a.pl", "$x = $#a; # c\n$y =~ s/#/x/;\n", Count{1, 2}},
		"Windows line ends":        {"a.js", "// a\r\nb();\r\n\r\n/* c\r\n */\r\n", Count{3, 4}},
		"TOML":                     {"a.toml", "a = \"# no\" # c\nb = '''\n# no\n'''\n", Count{1, 4}},
		"Markdown":                 {"a.md", "# no\n<!-- a\nb -->\n", Count{2, 3}},
		"Vue":                      {"a.vue", "<template><!-- a --></template>\n<script>\n// b\n</script>\n", Count{2, 4}},
		"Terraform quotes":         {"a.tf", "x = \"${f(\"a # b\")}\" # c\ny = \"http://z\"\n", Count{1, 2}},
		"Go, a directive":          {"a.go", "//go:build x\n\npackage a // c\n\nconst s = `\n// no\n`\n", Count{2, 5}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := Of(test.name, []byte(test.text))
			if !ok || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, ok, test.want)
			}
		})
	}
}

func TestKnown(t *testing.T) {
	for name, want := range map[string][2]bool{
		"a.js": {true, true}, "A.JS": {true, true}, "a.min.js": {}, "a.css": {true, false}, "README.md": {true, false},
		"a.json": {}, "photo.png": {}, "dir/Dockerfile": {true, true}, "noext": {},
	} {
		if known, source := Known(name); known != want[0] || source != want[1] {
			t.Errorf("Known(%s) = %v, %v", name, known, source)
		}
	}
	if _, ok := Of("a.json", []byte("{}")); ok {
		t.Error("JSON has no comments to count")
	}
}

func TestRatio(t *testing.T) {
	if r := (Count{}).Ratio(); r != 0 {
		t.Errorf("nothing: %v", r)
	}
	if r := (Count{1, 3}).Add(Count{1, 5}).Ratio(); r != 0.25 {
		t.Errorf("sum: %v", r)
	}
}

func FuzzOf(f *testing.F) {
	f.Add("a.js", "/[/]/ `${'`'}`")
	f.Fuzz(func(t *testing.T, name, text string) {
		c, _ := Of(name, []byte(text))
		if c.Comment < 0 || c.Comment > c.Lines {
			t.Errorf("%+v", c)
		}
	})
}
