// Package results reads what test runners report (JUnit and xunit XML, TAP, Mocha's JSON) into one list of
// cases. The test plugin imports it.
package results

import (
	"bytes"
	"errors"
	"strings"
)

// Status of a case.
type Status int

// The statuses. A test that is marked as to be done counts as skipped, whatever became of it.
const (
	Passed Status = iota
	Failed
	Skipped
)

// Case is one test.
type Case struct {
	Name    string // with the names of the suites around it, as far as the report has them
	File    string // as reported; empty: unknown
	Line    int    // as reported; 0: unknown
	Status  Status
	Message string // why it failed, without the trace
	Trace   string // what the runner printed of a failure
}

// errUnknown is the answer to a file that is no report.
var errUnknown = errors.New("neither JUnit XML, TAP nor Mocha JSON")

// Parse reads a report of any of the formats, which it recognises by its content.
func Parse(data []byte) ([]Case, error) {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	switch start := bytes.TrimSpace(data); {
	case bytes.HasPrefix(start, []byte("<")):
		return parseJUnit(start)
	case bytes.HasPrefix(start, []byte("{")):
		return parseMocha(start)
	}
	return parseTAP(data)
}

// oneLine joins the lines of text and the runs of blanks in it.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
