// Package results reads what test runners report (JUnit and xunit XML, TAP, the JSON of Mocha and Jest, go test -json) into one
// list of cases. The test plugin imports it.
package results

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/test/document"
)

// Status of a case.
type Status int

// The statuses. A test that is marked as to be done counts as skipped, whatever its result.
const (
	Passed Status = iota
	Failed
	Skipped
)

// Case is one test.
type Case struct {
	Name    string // with the names of the suites around it, as far as the report has them
	Package string // Go's import path; empty in other formats
	File    string // as reported; empty: unknown
	Line    int    // as reported; 0: unknown
	Status  Status
	Message string        // why it failed, without the trace
	Trace   string        // what the runner printed about a failure
	Took    time.Duration // 0: the report does not say
	Count   int           // how many tests the case stands for; 0 is 1. A suite may count failures without naming a test
}

// Tests is how many tests the case stands for.
func (c Case) Tests() int { return max(c.Count, 1) }

// took is a time that a report gives in seconds; 0 when it makes no sense.
func took(seconds float64) time.Duration {
	if !(seconds > 0 && seconds < 1e6) {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// ErrUnknown is the error for content of no known format.
var ErrUnknown = errors.New("neither JUnit XML, TAP, Mocha JSON, Jest JSON nor go test -json")

type format struct {
	start func([]byte) int // where a report of this format begins; -1: there is none
	parse func([]byte) ([]Case, error)
}

func formats() []format {
	return []format{{startJUnit, parseJUnit}, {startTAP, parseTAP}, {startMocha, parseMocha}, {startJest, parseJest}, {startGoTest, parseGoTest}}
}

// Parse reads a report of any of the formats. It recognises the format by its content, wherever the report begins:
// programs print lines of their own before it.
func Parse(r io.Reader) ([]Case, error) {
	data, err := document.Read(r)
	if err != nil {
		return nil, err
	}
	first, at := format{}, -1
	for _, f := range formats() {
		if n := f.start(data); n >= 0 && (at < 0 || n < at) {
			first, at = f, n
		}
	}
	if at < 0 {
		return nil, fmt.Errorf("%w: it begins with %q", ErrUnknown, document.Start(data))
	}
	return first.parse(data)
}

// startOf is where a pattern begins to match.
func startOf(pattern *regexp.Regexp, data []byte) int {
	if at := pattern.FindIndex(data); at != nil {
		return at[0]
	}
	return -1
}

// oneLine joins the lines of text and the runs of blanks in it.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// firstParagraph is the message of a failure that has nothing but a trace: what stands before the first frame, or
// before the runner's drawing of a difference.
func firstParagraph(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "at ") || strings.HasPrefix(line, "+ expected") || strings.HasPrefix(line, "Traceback ") {
			break
		}
		if len(lines) > 0 && strings.HasSuffix(line, ": "+lines[0]) { // the same with its class, as Mocha repeats it
			break
		}
		lines = append(lines, line)
		if len(lines) == 6 {
			break
		}
	}
	return oneLine(strings.Join(lines, " "))
}
