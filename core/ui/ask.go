package ui

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

// ErrNobody says that there is nobody to ask.
var ErrNobody = errors.New("stdin is not a terminal")

// Terminal reports whether a stream is a terminal.
func Terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && isatty.IsTerminal(f.Fd())
}

// Confirm asks a question on the terminal in. Only "yes" is a yes.
func (u *UI) Confirm(in io.Reader, question string) (bool, error) {
	f, ok := Terminal(in)
	if !ok {
		return false, ErrNobody
	}
	u.Ask(question + " Only \"yes\" goes on:")
	line, err := bufio.NewReader(f).ReadString('\n')
	return strings.TrimSpace(line) == "yes", err
}

// Secrets returns a function that asks for a secret on the terminal in, which does not show it; nil: nobody can be asked.
func (u *UI) Secrets(in io.Reader) func(question string) ([]byte, error) {
	f, ok := Terminal(in)
	if !ok {
		return nil
	}
	return func(question string) ([]byte, error) {
		u.Ask(question)
		return term.ReadPassword(int(f.Fd()))
	}
}
