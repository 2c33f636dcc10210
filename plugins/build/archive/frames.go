package archive

import (
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// frameSize is how much of the tar makes one frame. It is part of the format: another size gives other bytes.
	frameSize = 4 << 20
	// encodersMost bounds the memory: twice frameSize, and the tables of an encoder, for each.
	encodersMost = 4
)

// frames compresses what is written to it into zstd frames of frameSize bytes each, several at once, and writes them to
// out in their order. Readers take a sequence of frames for one stream. Where a frame ends depends on the number of
// bytes alone, and what is in it on nothing but them: so the result is the same on any number of processors.
type frames struct {
	out     io.Writer
	encoder *zstd.Encoder
	filling *frame      // nil: none yet
	free    chan *frame // bounds how many there are
	queue   chan *frame // in their order
	written sync.WaitGroup

	mu  sync.Mutex
	err error // of out
}

// frame is a part of the stream.
type frame struct {
	plain, packed []byte
	done          chan struct{} // closed when packed is complete
}

// newFrames returns a writer that has to be closed, also after an error.
func newFrames(out io.Writer) (*frames, error) {
	encoders := min(runtime.GOMAXPROCS(0), encodersMost)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(encoders))
	if err != nil {
		return nil, err
	}
	n := encoders + 2 // one is filled, one is written
	w := &frames{out: out, encoder: z, free: make(chan *frame, n), queue: make(chan *frame, n)}
	for range n {
		w.free <- &frame{}
	}
	w.written.Go(w.write)
	return w, nil
}

// Write takes bytes into the frame that is being filled.
func (w *frames) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if w.filling == nil { // the one before was sent
			if err := w.failure(); err != nil {
				return n - len(b), err
			}
			w.filling = <-w.free
		}
		f := w.filling
		if f.plain == nil {
			f.plain = make([]byte, 0, frameSize)
		}
		k := min(len(b), frameSize-len(f.plain))
		f.plain, b = append(f.plain, b[:k]...), b[k:]
		if len(f.plain) < frameSize {
			break
		}
		w.send()
	}
	return n, nil
}

// send has the frame compressed and written.
func (w *frames) send() {
	f := w.filling
	w.filling = nil
	f.done = make(chan struct{})
	w.queue <- f
	go func() {
		defer close(f.done)
		f.packed = w.encoder.EncodeAll(f.plain, f.packed[:0])
	}()
}

// write writes frames as they come, in their order.
func (w *frames) write() {
	for f := range w.queue {
		<-f.done
		if w.failure() == nil {
			if _, err := w.out.Write(f.packed); err != nil {
				w.mu.Lock()
				w.err = err
				w.mu.Unlock()
			}
		}
		f.plain = f.plain[:0]
		w.free <- f
	}
}

func (w *frames) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close writes what is left and waits until all is written.
func (w *frames) Close() error {
	if w.filling != nil {
		w.send()
	}
	close(w.queue)
	w.written.Wait()
	return w.failure()
}
