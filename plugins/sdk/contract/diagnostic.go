package contract

import (
	"fmt"
	"strings"
)

// Pos is a position in a file. Line and Column count from 1, Byte from 0; Column counts characters.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// Range is a range in a file. The zero Range is no position.
type Range struct {
	File  string `json:"filename"`
	Start Pos    `json:"start"`
	End   Pos    `json:"end"`
}

// String is FILE:LINE,COLUMN-COLUMN, as HCL writes it.
func (r Range) String() string {
	if r.Start.Line == r.End.Line {
		return fmt.Sprintf("%s:%d,%d-%d", r.File, r.Start.Line, r.Start.Column, r.End.Column)
	}
	return fmt.Sprintf("%s:%d,%d-%d,%d", r.File, r.Start.Line, r.Start.Column, r.End.Line, r.End.Column)
}

// Diagnostic is a user's mistake with its position and remedy.
type Diagnostic struct {
	Warning bool
	Summary string // title
	Detail  string // remedy
	Range   Range  // zero: no position
}

// Diagnostics lists all mistakes found. Used as an error, it is never empty.
type Diagnostics []Diagnostic

func (d Diagnostics) Error() string {
	var b strings.Builder
	for i, x := range d {
		if i > 0 {
			b.WriteByte('\n')
		}
		if x.Range.File != "" {
			b.WriteString(x.Range.String() + ": ")
		}
		b.WriteString(x.Summary)
		if x.Detail != "" {
			b.WriteString("; " + x.Detail)
		}
	}
	return b.String()
}

// HasErrors reports whether any diagnostic is an error, not a warning.
func (d Diagnostics) HasErrors() bool {
	for _, x := range d {
		if !x.Warning {
			return true
		}
	}
	return false
}
