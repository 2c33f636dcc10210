package cause

// rules are tried in this order: tests before compilers, compilers before programs, and those before the tools that
// only started them. Each has an example in the tests.
func rules() []rule {
	const (
		jsFrame = `^\s+(?:at|❯) (?:.*[( ])?(?:file://)?(?P<file>[^\s():]+\.\w+):(?P<line>\d+)(?::\d+)?\)?$`
		foreign = `node_modules/|node:internal|\(internal/|/go/src/|/go/pkg/mod/|site-packages/|/rustc/`
	)
	return []rule{
		// Tests.
		{tool: "go", first: `^\s*--- FAIL: (?P<test>\S+) \(`, more: []string{`^\s+(?P<file>[^\s:]+\.go):(?P<line>\d+): ?(?P<text>.*)`, `^\s+(?:Error|Error:)\s+(?P<text>\S.*)|^panic: (?P<text>.*?)(?: \[recovered.*)?$`, `^\t(?P<file>\S+\.go):(?P<line>\d+)`}, until: `^\s*(?:--- |=== |FAIL\s|ok\s)`, back: `^\s+(?P<file>[^\s:]+\.go):(?P<line>\d+): ?(?P<text>.*)`, skip: foreign, need: "file"},
		{tool: "go", first: `^panic: (?P<text>.*?)(?: \[recovered.*)?$`, more: []string{`^\s+(?P<test>Test\S+) \(\d`, `^\t(?P<file>\S+\.go):(?P<line>\d+)`}, skip: foreign},
		{tool: "node:test", first: `^test at (?:file://)?(?P<file>[^:]+):(?P<line>\d+)`, more: []string{`^\s*✖ (?P<test>.*?)(?: \([\d.]+ms\))?$`, `^\s+(?P<text>(?:\w*Error\b|').*)`}, until: `^test at `},
		{tool: "TAP", first: `^\s*not ok\b\s*\d*(?: -)? *(?P<test>.*)`, more: []string{`^\s*location: '?(?:file://)?(?P<file>[^':]+):(?P<line>\d+)`, `^\s*(?:error|message): *['"]?(?P<text>[^|>'"\s].*?)['"]?$`, `^\s+(?P<text>[A-Z].*)`, jsFrame, `^\s*#?\s+at .*?(?P<file>[\w./-]+\.\w+) line (?P<line>\d+)`}, until: `^\s*(?:not )?ok\b|^\s*\.\.\.$`, skip: `(?i)# (?:todo|skip)\b|^\s*duration_ms|^\s*type:|^\s*---|` + foreign},
		{tool: "jest", first: `^\s*● (?P<test>\S.*)`, more: []string{`^\s+(?P<text>\S.*)`, jsFrame}, until: `^\s*● `, skip: foreign, reach: 60},
		{tool: "vitest", first: `^\s*FAIL\s+(?P<file>\S+\.[cm]?[jt]sx?)(?: > (?P<test>.*)| \[.*\])$`, more: []string{`^(?P<text>\w*(?:Error|Exception)\b.*)`, `^\s+❯ (?:.* )?\S+?:(?P<line>\d+):\d+`}, until: `^\s*FAIL\s`, skip: foreign},
		{tool: "mocha", first: `^\s+\d+\) (?P<test>\S.*)`, more: []string{`^\s{7,}(?P<title>\S.*):$`, `^\s+(?P<text>(?:\w*Error\b|Uncaught|Timeout).*)`, jsFrame}, until: `^\s+\d+\) `, skip: foreign, need: "text"},
		{tool: "pytest", first: `^_{3,} (?:ERROR at (?:setup|teardown) of )?(?P<test>\S+) _{3,}$`, more: []string{`^E\s+(?P<text>\S.*)`, `^(?P<file>[^\s:]+\.py):(?P<line>\d+): \w+`}, until: `^_{3,} \S+ _{3,}$|^=+ short test summary`, reach: 200},
		{tool: "pytest", first: `^(?:FAILED|ERROR) (?P<file>[^:\s]+\.py)(?:::(?P<test>\S+))?(?: - (?P<text>.*))?$`},
		{tool: "unittest", first: `^(?:FAIL|ERROR): (?P<test>\w+) \(`, more: []string{`^\s+File "(?P<file>[^"]+)", line (?P<line>\d+)`, `^(?P<text>[\w.]*(?:Error|Exception)\b.*)`}, until: `^={10,}$`, skip: foreign + `|/unittest/`},
		{tool: "cargo test", first: `^---- (?P<test>\S+) stdout ----$`, more: []string{`panicked at (?:'(?P<text>.*)', )?(?P<file>[^':]+):(?P<line>\d+):\d+:?$`, `^(?P<text>[^\s't].*|t[^h].*)`}, until: `^---- |^failures:`, skip: `^note: |` + foreign, need: "text"},
		{tool: "rspec", first: `^rspec (?P<file>\./\S+?):(?P<line>\d+) # (?P<test>.*)`, back: `^\s+(?:Failure/Error: )(?P<text>.*)`},
		{tool: "PHPUnit", first: `^\d+\) (?P<test>[\w\\]+::\S+)`, more: []string{`^(?P<text>\S.*)`, `^(?P<file>/\S+\.php):(?P<line>\d+)$`}},
		{tool: "surefire", first: `^\[ERROR\] +(?P<test>[\w$]+(?:\.[\w$]+)+):(?P<line>\d+) (?P<text>.*)`},
		{tool: "gradle", first: `^(?P<test>\S+ > .*) FAILED$`, more: []string{`^\s+(?P<text>\S.*)`, `at (?P<file>\w+\.(?:java|kt|groovy)):(?P<line>\d+)`}},
		{tool: "dotnet", first: `^\s*Failed (?P<test>\S.*?) \[.*m?s\]$`, more: []string{`^\s+(?P<text>(?:Assert|Expected|System\.|\w+Exception).*)`, ` in (?P<file>\S+):line (?P<line>\d+)`}},

		// Compilers.
		{tool: "tsc", first: `^(?P<file>[^\s(:]+)(?:\((?P<line>\d+),\d+\)| *:(?P<line>\d+):\d+):? (?:- )?error TS\d+: (?P<text>.*)`},
		{tool: "javac", first: `^(?:\[ERROR\] )?(?P<file>\S+\.(?:java|kt|scala)):(?:\[(?P<line>\d+),\d+\]|(?P<line>\d+):) *(?:error: )?(?P<text>.*)`},
		{tool: "csc", first: `^\s*(?P<file>[^\s(]+)\((?P<line>\d+),\d+\): error \w+: (?P<text>.*?)(?: \[.*\])?$`},
		{tool: "gcc", first: `^(?P<file>[^\s:]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.*)`},
		{tool: "ld", first: `^(?:\S*ld: )?(?P<text>(?:\S+: )*(?:undefined reference to .*|cannot find -l\S+.*|multiple definition of .*))`},
		{tool: "cargo", first: `^error(?:\[E\d+\])?: (?P<text>.*)`, more: []string{`^\s*--> (?P<file>[^:]+):(?P<line>\d+)`}, skip: `could not compile|aborting due to|test failed, to rerun|^error: \d+ target|process didn't exit`, reach: 2},
		{tool: "go", first: `^(?:vet: )?(?P<file>[^\s:]+\.go):(?P<line>\d+):(?:\d+:)? (?P<text>.*)`},
		{tool: "go", first: `^go: (?P<text>.*)`, skip: `^go: (?:downloading|finding|extracting|added|upgraded|warning)`},
		{tool: "esbuild", first: `^\s*(?:✘|X) \[ERROR\] (?P<text>.*)`, more: []string{`^\s+(?P<file>[^\s:]+):(?P<line>\d+):\d+:$`}},
		{tool: "webpack", first: `^ERROR in (?P<file>\S+?)(?:[ :](?P<line>\d+)[:-].*)?$`, more: []string{`^(?P<text>\S.*)`}},
		{tool: "CMake", first: `^CMake Error at (?P<file>[^:]+):(?P<line>\d+)`, more: []string{`^\s+(?P<text>\S.*)`}},

		// Programs.
		{tool: "python", first: `^(?P<text>[\w.]*(?:Error|Exception|Interrupt|Exit)(?:: .*)?)$`, back: `^\s+File "(?P<file>[^"<]+)", line (?P<line>\d+)`, until: `^Traceback `, skip: foreign + `|/lib/python`, need: "file", last: true, reach: 60},
		{tool: "node", first: `^(?P<text>(?:Uncaught )?\w*Error(?: \[\w+\])?: .*)`, more: []string{`^- (?P<file>\S+)$`, jsFrame}, back: `^(?:file://)?(?P<file>[^\s():]+\.[cm]?[jt]sx?):(?P<line>\d+)$`, skip: foreign},
		{tool: "ruby", first: `^(?P<file>[^\s:]+\.rb):(?P<line>\d+):in .*?: (?P<text>.*)`},
		{tool: "php", first: `^(?:PHP )?(?:Fatal|Parse) error: +(?P<text>.*?) in (?P<file>\S+?)(?: on line |:)(?P<line>\d+)`},
		{tool: "java", first: `^Exception in thread "[^"]*" (?P<text>.*)`, more: []string{`\((?P<file>\w+\.java):(?P<line>\d+)\)`}},
		{tool: "rust", first: `^thread '.*' (?:\(\d+\) )?panicked at (?:'(?P<text>.*)', )?(?P<file>[^':]+):(?P<line>\d+):\d+:?$`, more: []string{`^(?P<text>\S.*)`}},
		{tool: "shell", first: `(?P<text>\S+: (?:command )?not found)$`},
		{tool: "shell", first: `^(?P<text>\S*sh: (?:line )?\d+: .*)`},

		// Tools that started others.
		{tool: "npm", first: `^npm (?:ERR!|error) code (?P<code>\S+)$`, more: []string{`^npm (?:ERR!|error) (?P<text>\S.*)`}, skip: `^npm (?:ERR!|error) (?:errno|syscall|path|command|signal|A complete log|(?:code ELIFECYCLE|code \d+|Exit status)\b|\S+@\S+ \w+:|$)`, need: "text", joins: 2},
		{tool: "npm", first: `^npm (?:ERR!|error) (?P<text>Missing script.*)`},
		{tool: "pnpm", first: `(?P<code>ERR_PNPM_\w+)\s+(?P<text>\S.*)`, skip: `RECURSIVE_RUN_FIRST_FAIL`},
		{tool: "yarn", first: `(?P<code>YN\d+): │ *(?:└ )?(?P<text>.*(?:[Ee]rror|isn't|couldn't|not |failed|ENOENT|would have been).*)`},
		{tool: "yarn", first: `^error (?P<text>.*)`, skip: `^error Command failed`},
		{tool: "pip", first: `^ERROR: (?P<text>.*)`},
		{tool: "maven", first: `^\[ERROR\] (?P<text>.*)`},
		{tool: "make", first: `^\S*make(?:\[\d+\])?: \*\*\* (?P<text>No rule .*|missing .*)`},
		{tool: "make", first: `^(?P<file>[^\s:]+):(?P<line>\d+): \*\*\* (?P<text>.*)`},
		{tool: "make", first: `^\S*make(?:\[\d+\])?: \*\*\* \[(?:(?P<file>[^:\]]+):(?P<line>\d+): )?(?P<text>[^\]]+)\] (?:Error|Segmentation|Killed|Terminated|Aborted)`, above: 3, skip: `^\S*make(?:\[\d+\])?: (?:\*\*\* Waiting|Entering|Leaving)`},
	}
}
