package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
)

type mochaReport struct {
	Stats struct {
		Failures int `json:"failures"`
	} `json:"stats"`
	Passes   *[]mochaTest `json:"passes"`
	Failures *[]mochaTest `json:"failures"` // hooks that failed stand here and nowhere else
	Pending  []mochaTest  `json:"pending"`
}

type mochaTest struct {
	FullTitle string  `json:"fullTitle"`
	File      string  `json:"file"`
	Duration  float64 `json:"duration"` // milliseconds
	Err       struct {
		Message string `json:"message"`
		Stack   string `json:"stack"`
	} `json:"err"`
}

// mochaStart is how the report begins, wherever it stands in what a program has printed.
var mochaStart = regexp.MustCompile(`\{\s*"stats"\s*:`)

func startMocha(data []byte) int { return startOf(mochaStart, data) }

// parseMocha reads all reports of a file: a script may run Mocha several times.
func parseMocha(data []byte) ([]Case, error) {
	var list []Case
	for at := mochaStart.FindIndex(data); at != nil; at = mochaStart.FindIndex(data) {
		data = data[at[0]:]
		in := json.NewDecoder(bytes.NewReader(data))
		var r mochaReport
		if err := in.Decode(&r); err != nil {
			if err == io.ErrUnexpectedEOF { //nolint:errorlint // Decode returns it as it is
				return nil, fmt.Errorf("read Mocha JSON: it ends in the middle; the run may have ended early")
			}
			return nil, fmt.Errorf("read Mocha JSON: %w", err)
		}
		if r.Passes == nil || r.Failures == nil {
			return nil, fmt.Errorf("%w: the JSON has stats, but no passes and failures", ErrUnknown)
		}
		list = r.cases(list)
		data = data[in.InputOffset():]
	}
	return list, nil
}

func (r *mochaReport) cases(list []Case) []Case {
	for _, group := range []struct {
		status Status
		tests  []mochaTest
	}{{Passed, *r.Passes}, {Failed, *r.Failures}, {Skipped, r.Pending}} {
		for _, t := range group.tests {
			list = append(list, Case{
				Name: t.FullTitle, File: t.File, Status: group.status, Took: took(t.Duration / 1000),
				Message: oneLine(t.Err.Message), Trace: t.Err.Stack,
			})
		}
	}
	if missing := min(r.Stats.Failures, 1<<30) - len(*r.Failures); missing > 0 {
		list = append(list, Case{
			Name: "stats", Status: Failed, Count: missing,
			Message: fmt.Sprintf("the report counts %s, and names %d", plural(r.Stats.Failures, "failure"), len(*r.Failures)),
		})
	}
	return list
}
