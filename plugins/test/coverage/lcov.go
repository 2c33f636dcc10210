package coverage

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	lcovStart = regexp.MustCompile(`(?m)\A(?:\s*(?:#.*)?\n)*(?:TN|SF):`)
	lcovEnd   = regexp.MustCompile(`^\d+,`)
)

func isLcov(data []byte) bool { return lcovStart.Match(data) }

// lcovSection is one file in one run.
type lcovSection struct {
	file      *File
	functions map[string][]span // places by name
	calls     map[string]int    // FNDA lines of a name: the nth is of its nth place
	leaders   map[string]span   // places by index, of lcov 2.2
	sums      map[string]int    // LF, LH, BRF, BRH, FNF, FNH
}

// parseLcov reads a tracefile of lcov 1 or 2. A file may have several sections, one for each test.
func parseLcov(data []byte, b builder) error {
	var s *lcovSection
	n := 0
	for raw := range bytes.Lines(data) {
		n++
		key, value, _ := strings.Cut(strings.TrimSpace(string(raw)), ":")
		switch {
		case key == "SF" && s != nil:
			return fmt.Errorf("read lcov: line %d: a section begins inside the section of %s", n, s.file.Path)
		case key == "SF":
			s = &lcovSection{b.file(value), map[string][]span{}, map[string]int{}, map[string]span{}, map[string]int{}}
		case s == nil:
		case key == "end_of_record":
			s.finish()
			s = nil
		default:
			if err := s.record(key, value); err != nil {
				return fmt.Errorf("read lcov: line %d: %w, got %.200q", n, err, strings.TrimSpace(string(raw)))
			}
		}
	}
	if s != nil {
		return fmt.Errorf("read lcov: it ends inside the section of %s", s.file.Path)
	}
	return nil
}

func (s *lcovSection) record(key, value string) error {
	fields := strings.Split(value, ",")
	number := func(i int) (int, bool) {
		if i >= len(fields) {
			return 0, false
		}
		n, err := strconv.Atoi(fields[i])
		return n, err == nil && n >= 0
	}
	first, ok := number(0)
	switch key {
	case "DA": // LINE,TIMES[,CHECKSUM]
		if !ok || len(fields) < 2 {
			return fmt.Errorf("want DA:LINE,TIMES")
		}
		s.file.once(Lines, span{line: first}, positive(fields[1]))
	case "BRDA": // LINE,BLOCK,BRANCH,TAKEN; BRANCH may be an expression
		if !ok || len(fields) < 4 {
			return fmt.Errorf("want BRDA:LINE,BLOCK,BRANCH,TAKEN")
		}
		last := len(fields) - 1
		s.file.once(Branches, span{line: first, name: strings.Join(fields[1:last], ",")}, positive(fields[last]))
	case "FN": // LINE,[END,]NAME
		_, name, found := strings.Cut(value, ",")
		if !ok || !found {
			return fmt.Errorf("want FN:LINE,NAME")
		}
		name = name[len(lcovEnd.FindString(name)):]
		at := span{line: first, name: name}
		s.functions[name] = append(s.functions[name], at)
		s.file.once(Functions, at, false)
	case "FNDA": // TIMES,NAME
		times, name, found := strings.Cut(value, ",")
		if !found {
			return fmt.Errorf("want FNDA:TIMES,NAME")
		}
		at := span{name: name}
		if places := s.functions[name]; len(places) > 0 {
			at = places[min(s.calls[name], len(places)-1)]
		}
		s.calls[name]++
		s.file.once(Functions, at, positive(times))
	case "FNL": // INDEX,LINE[,END]
		line, found := number(1)
		if !found {
			return fmt.Errorf("want FNL:INDEX,LINE")
		}
		end, _ := number(2)
		s.leaders[fields[0]] = span{line: line, endLine: end}
		s.file.once(Functions, s.leaders[fields[0]], false)
	case "FNA": // INDEX,TIMES,NAME: one of the names of a function
		at, found := s.leaders[fields[0]]
		if !found || len(fields) < 3 {
			return fmt.Errorf("want FNA:INDEX,TIMES,NAME after the FNL of the index")
		}
		s.file.once(Functions, at, positive(fields[1]))
	case "LF", "LH", "BRF", "BRH", "FNF", "FNH":
		if !ok {
			return fmt.Errorf("want %s:NUMBER", key)
		}
		s.sums[key] = first
	}
	return nil
}

// finish takes the sums of a section for what it does not list.
func (s *lcovSection) finish() {
	for kind, keys := range map[Kind][2]string{Lines: {"LH", "LF"}, Branches: {"BRH", "BRF"}, Functions: {"FNH", "FNF"}} {
		total, ok := s.sums[keys[1]]
		if !ok {
			continue
		}
		s.file.counts(kind)
		if total > 0 && len(s.file.hits[kind]) == 0 {
			s.file.add(kind, whole, hit{Count: Count{s.sums[keys[0]], total}})
		}
	}
}
