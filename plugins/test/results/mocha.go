package results

import (
	"encoding/json"
	"fmt"
)

type mochaReport struct {
	Stats    *json.RawMessage `json:"stats"`
	Passes   []mochaTest      `json:"passes"`
	Failures []mochaTest      `json:"failures"` // hooks that failed stand here and nowhere else
	Pending  []mochaTest      `json:"pending"`
}

type mochaTest struct {
	FullTitle string `json:"fullTitle"`
	File      string `json:"file"`
	Err       struct {
		Message string `json:"message"`
		Stack   string `json:"stack"`
	} `json:"err"`
}

func parseMocha(data []byte) ([]Case, error) {
	var r mochaReport
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if r.Stats == nil {
		return nil, fmt.Errorf("%w: the JSON has no stats", errUnknown)
	}
	var list []Case
	for _, group := range []struct {
		status Status
		tests  []mochaTest
	}{{Passed, r.Passes}, {Failed, r.Failures}, {Skipped, r.Pending}} {
		for _, t := range group.tests {
			list = append(list, Case{
				Name: t.FullTitle, File: t.File, Status: group.status,
				Message: oneLine(t.Err.Message), Trace: t.Err.Stack,
			})
		}
	}
	return list, nil
}
