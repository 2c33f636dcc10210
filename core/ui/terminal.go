package ui

import (
	"io"
	"os"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

// Detect returns the options for what out is. Color also obeys NO_COLOR (https://no-color.org) and TERM=dumb.
func Detect(out io.Writer, noColor bool) Options {
	f, ok := out.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return Options{}
	}
	smart := os.Getenv("TERM") != "dumb"
	return Options{
		Terminal: true, TTY: smart, Color: smart && !noColor && os.Getenv("NO_COLOR") == "",
		Size: func() (columns, rows int) {
			w, h, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80, 24
			}
			return w, h
		},
	}
}
