package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// jestReport is what jest --json writes; the json reporter of vitest writes the same.
type jestReport struct {
	Tests *[]jestFile `json:"testResults"`
}

type jestFile struct {
	Name    string `json:"name"` // of the file
	Status  string `json:"status"`
	Message string `json:"message"`
	Tests   []struct {
		FullName string   `json:"fullName"`
		Duration float64  `json:"duration"` // milliseconds
		Status   string   `json:"status"`
		Messages []string `json:"failureMessages"`
		Location *struct {
			Line int `json:"line"`
		} `json:"location"`
	} `json:"assertionResults"`
}

// jestStart is how the report begins, wherever it stands in what a program has printed.
var jestStart = regexp.MustCompile(`\{\s*"(?:numFailedTestSuites|numTotalTestSuites)"\s*:`)

func startJest(data []byte) int { return startOf(jestStart, data) }

// parseJest reads all reports of a file, one for each project of a repository.
func parseJest(data []byte) ([]Case, error) {
	var list []Case
	for at := jestStart.FindIndex(data); at != nil; at = jestStart.FindIndex(data) {
		data = data[at[0]:]
		in := json.NewDecoder(bytes.NewReader(data))
		var r jestReport
		if err := in.Decode(&r); err != nil {
			if err == io.ErrUnexpectedEOF { //nolint:errorlint // Decode returns it as it is
				return nil, fmt.Errorf("read Jest JSON: it ends in the middle; the run may have ended early")
			}
			return nil, fmt.Errorf("read Jest JSON: %w", err)
		}
		if r.Tests == nil {
			return nil, fmt.Errorf("%w: the JSON has totals, but no testResults", ErrUnknown)
		}
		for _, f := range *r.Tests {
			list = f.cases(list)
		}
		data = data[in.InputOffset():]
	}
	return list, nil
}

// cases adds the tests of a file. A file that failed without a failed test could not be run.
func (f *jestFile) cases(list []Case) []Case {
	failed := false
	for _, t := range f.Tests {
		c := Case{Name: t.FullName, File: f.Name, Took: took(t.Duration / 1000)}
		switch t.Status {
		case "passed":
		case "failed":
			failed = true
			c.Status, c.Trace = Failed, strings.Join(t.Messages, "\n")
			c.Message = firstParagraph(c.Trace)
			if t.Location != nil && !strings.Contains(c.Trace, f.Name+":") {
				c.Line = t.Location.Line
			}
		default: // pending, skipped, todo, disabled
			c.Status = Skipped
		}
		list = append(list, c)
	}
	if f.Status == "failed" && !failed {
		text := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(f.Message), "● Test suite failed to run"))
		list = append(list, Case{Name: "Test suite failed to run", File: f.Name, Status: Failed, Message: firstParagraph(text), Trace: f.Message})
	}
	return list
}
