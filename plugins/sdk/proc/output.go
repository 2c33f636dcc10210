package proc

import (
	"io"
	"os"
	"sync/atomic"
	"time"
)

// output carries what a command writes to a writer. A nil output is /dev/null.
type output struct {
	r, w *os.File
	to   io.Writer
	done chan struct{} // closed when all is read

	left   atomic.Int64  // bytes to read yet; negative: all
	waited time.Duration // for output, since the command ended
}

// pipeHolds is more than any pipe does: what is read beyond that was not written by a command that has ended.
const pipeHolds = 1 << 20

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
	o := &output{r: r, w: w, to: to}
	o.left.Store(-1)
	return o, nil
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
		_, err := io.Copy(o.to, (*source)(o))
		if err != nil {
			_, _ = io.Copy(io.Discard, (*source)(o)) // the writer gave up; the command must not block on it
		}
	}()
}

// source is the reading end. A listener may take its time: only waiting for output is counted.
type source output

func (s *source) Read(b []byte) (int, error) {
	left := s.left.Load()
	switch {
	case left < 0:
		return s.r.Read(b)
	case left == 0:
		return 0, io.EOF
	}
	start := time.Now()
	_ = s.r.SetReadDeadline(start.Add(outputGrace - s.waited))
	n, err := s.r.Read(b[:min(int64(len(b)), left)])
	s.waited += time.Since(start)
	s.left.CompareAndSwap(left, left-int64(n))
	return n, err
}

// finish waits for the last output of a command that has ended. In a hurry it leaves out what a slow listener
// would still have to hear.
func (o *output) finish(hurry bool) {
	if o == nil || o.done == nil {
		return
	}
	o.left.Store(pipeHolds)
	_ = o.r.SetReadDeadline(time.Now().Add(outputGrace))
	if hurry {
		select {
		case <-o.done:
		case <-time.After(outputGrace):
			o.left.Store(0)
		}
	}
	<-o.done
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
