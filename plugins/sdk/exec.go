package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// lastLines is how many lines of a command's output an ExitError keeps.
const lastLines = 20

// Command is a program to run, with its arguments; no shell is involved.
type Command struct {
	Args []string
	Dir  string   // empty: the workspace of the run, if it has one
	Env  []string // NAME=VALUE, beside the plugin's own environment
	// Line is called for every line that the command writes, from one goroutine at a time. Optional: lines go
	// to the log of the stage.
	Line func(line string, stderr bool)
	// Stdout gets the standard output byte by byte, for output that is data and has lines of any length, or none;
	// Line and the log then get standard error alone. Optional.
	Stdout io.Writer
}

// Exec runs a command to its end. When ctx ends, or the plugin does, all processes that it has started are
// interrupted, and killed after a moment, also those that run in the background. A status other than 0 is an
// *ExitError; a command that ctx ended gives the cause of ctx.
func (j *Job) Exec(ctx context.Context, c Command) error {
	if len(c.Args) == 0 {
		return errors.New("run command: no arguments")
	}
	var mu sync.Mutex
	var last []string
	lines := func(stderr bool) *proc.Lines {
		return &proc.Lines{Max: maxLine, Each: func(line string) {
			mu.Lock()
			defer mu.Unlock()
			if last = append(last, line); len(last) > lastLines {
				last = last[1:]
			}
			if c.Stdout != nil && !stderr {
				return
			}
			if c.Line != nil {
				c.Line(line, stderr)
				return
			}
			j.log(stderr, line+"\n")
		}}
	}
	out, errs := lines(false), lines(true)
	dir := c.Dir
	if dir == "" {
		dir = j.Info.Workspace
	}
	cmd := proc.Cmd{Args: c.Args, Dir: dir, Env: append(os.Environ(), c.Env...), Stdout: out, Stderr: errs}
	if c.Stdout != nil {
		cmd.Stdout = io.MultiWriter(c.Stdout, out)
	}
	err := cmd.Run(ctx)
	out.Flush()
	errs.Flush()
	if e := (*proc.ExitError)(nil); errors.As(err, &e) {
		return &ExitError{Code: e.Code, Args: c.Args, Last: last, Text: e.Error()}
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("run %s: %w", c.Args[0], err)
	}
	return err
}
