package proc

import (
	"io"
	"os"
	"time"
)

// output carries what a command writes to a writer. A nil output is /dev/null.
type output struct {
	r, w *os.File
	to   io.Writer
	done chan struct{} // closed when all is read
}

// pipes prepares the command's output. Two equal writers share one pipe, so that they are never written at once.
func (c *Cmd) pipes() (out, errs *output, err error) {
	if out, err = newOutput(c.Stdout); err != nil {
		return nil, nil, err
	}
	if out != nil && sameWriter(c.Stdout, c.Stderr) {
		return out, out, nil
	}
	if errs, err = newOutput(c.Stderr); err != nil {
		out.close()
	}
	return out, errs, err
}

func sameWriter(a, b io.Writer) bool {
	defer func() { _ = recover() }() // types that cannot be compared are not the same
	return a == b
}

func newOutput(to io.Writer) (*output, error) {
	if to == nil {
		return nil, nil
	}
	if f, ok := to.(*os.File); ok {
		return &output{w: f}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &output{r: r, w: w, to: to}, nil
}

// file is what the command gets. Nil must be a nil interface.
func (o *output) file() io.Writer {
	if o == nil {
		return nil
	}
	return o.w
}

// started begins to read, and leaves the writing end to the command alone.
func (o *output) started() {
	if o == nil || o.r == nil || o.done != nil {
		return
	}
	_ = o.w.Close()
	o.done = make(chan struct{})
	go func() {
		defer close(o.done)
		_, err := io.Copy(o.to, o.r)
		if err != nil {
			_, _ = io.Copy(io.Discard, o.r) // the writer gave up; the command must not block on it
		}
	}()
}

// finish waits for the last output of a command that has ended.
func (o *output) finish() {
	if o == nil || o.done == nil {
		return
	}
	select {
	case <-o.done:
	case <-time.After(outputGrace):
		_ = o.r.SetReadDeadline(time.Now())
		<-o.done
	}
}

func (o *output) close() {
	if o == nil || o.r == nil {
		return
	}
	if o.done == nil {
		_ = o.w.Close()
	}
	_ = o.r.Close()
}
