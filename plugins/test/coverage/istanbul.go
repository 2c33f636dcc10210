package coverage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

type istanbulPlace struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

type istanbulRange struct {
	Start istanbulPlace `json:"start"`
	End   istanbulPlace `json:"end"`
	Skip  bool          `json:"skip"` // istanbul ignore, of Istanbul 0.4: counts as covered
}

func (r istanbulRange) span(name string) span {
	return span{r.Start.Line, r.Start.Column, r.End.Line, r.End.Column, name}
}

// istanbulFile is a file of coverage.json and coverage-final.json.
type istanbulFile struct {
	Path         string                   `json:"path"`
	StatementMap map[string]istanbulRange `json:"statementMap"`
	FnMap        map[string]struct {
		Name string        `json:"name"`
		Line int           `json:"line"`
		Loc  istanbulRange `json:"loc"`
		Skip bool          `json:"skip"`
	} `json:"fnMap"`
	BranchMap map[string]struct {
		Type      string          `json:"type"`
		Line      int             `json:"line"`
		Loc       istanbulRange   `json:"loc"`
		Locations []istanbulRange `json:"locations"`
	} `json:"branchMap"`
	S    map[string]float64   `json:"s"`
	F    map[string]float64   `json:"f"`
	B    map[string][]float64 `json:"b"`
	Data *istanbulFile        `json:"data"` // a wrapper of old versions
}

func isIstanbul(data []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) }

// parseIstanbul reads coverage-summary.json, coverage-final.json, and coverage.json of Istanbul 0.4: objects with a
// member for each file.
func parseIstanbul(data []byte, b builder) error {
	var files map[string]json.RawMessage
	if err := json.Unmarshal(data, &files); err != nil {
		return fmt.Errorf("read Istanbul JSON: %w", err)
	}
	if files["total"] != nil {
		return parseSummary(files, b)
	}
	for path, raw := range files {
		var f istanbulFile
		if err := json.Unmarshal(raw, &f); err != nil {
			return fmt.Errorf("%w: member %.100q of the JSON is no file of Istanbul: %w", ErrUnknown, path, err)
		}
		if f.Data != nil && f.StatementMap == nil {
			f = *f.Data
		}
		if f.StatementMap == nil || f.S == nil {
			return fmt.Errorf("%w: member %.100q of the JSON has no statementMap", ErrUnknown, path)
		}
		f.into(b.file(path))
	}
	return nil
}

// into adds the file. A line is covered when one of the statements that begin on it is.
func (f *istanbulFile) into(to *File) {
	to.counts(Statements)
	to.counts(Branches)
	to.counts(Functions)
	to.counts(Lines)
	for id, at := range f.StatementMap {
		covered := f.S[id] > 0 || at.Skip
		to.once(Statements, at.span(""), covered)
		to.once(Lines, span{line: at.Start.Line}, covered)
	}
	for id, fn := range f.FnMap {
		at := fn.Loc.span(fn.Name)
		if at.line == 0 {
			at.line = fn.Line
		}
		to.once(Functions, at, f.F[id] > 0 || fn.Skip)
	}
	for id, branch := range f.BranchMap {
		at := branch.Loc
		if at.Start.Line == 0 && len(branch.Locations) > 0 {
			at = branch.Locations[0]
		}
		for i, times := range f.B[id] {
			skip := i < len(branch.Locations) && branch.Locations[i].Skip
			to.once(Branches, at.span(branch.Type+" "+strconv.Itoa(i)), times > 0 || skip)
		}
	}
}

// parseSummary reads coverage-summary.json: a path, or "total", to its four counts.
func parseSummary(files map[string]json.RawMessage, b builder) error {
	for path, raw := range files {
		var kinds map[Kind]json.RawMessage
		if err := json.Unmarshal(raw, &kinds); err != nil {
			return fmt.Errorf("%w: member %.100q of the JSON is no summary: %w", ErrUnknown, path, err)
		}
		for _, kind := range Kinds() {
			var c struct {
				Total   *int `json:"total"`
				Covered int  `json:"covered"`
			}
			if err := json.Unmarshal(kinds[kind], &c); err != nil || c.Total == nil {
				return fmt.Errorf("%w: %s of %.100q has no total", ErrUnknown, kind, path)
			}
			if path != "total" {
				b.file(path).add(kind, whole, hit{Count: Count{c.Covered, *c.Total}})
			}
		}
	}
	return nil
}
