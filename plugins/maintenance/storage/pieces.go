package storage

import (
	"errors"
	"io"
)

// pieces reads src in pieces of a size, has work done on several of them at once, and writes what it returns to dst, in the order
// of src. It ends with the first error. work gets the piece's place in src, and what it has returned for an earlier piece, to
// be overwritten.
func pieces(dst io.Writer, src io.Reader, size, atOnce int, work func(at int64, piece, out []byte) ([]byte, error)) error {
	type piece struct {
		in, out []byte
		done    chan error
	}
	free := make(chan *piece, atOnce)
	for range atOnce {
		free <- &piece{done: make(chan error, 1)}
	}
	queue := make(chan *piece, atOnce)
	failed := make(chan struct{})
	written := make(chan error, 1)
	go func() {
		var first error
		for p := range queue {
			err := <-p.done
			if first != nil {
				continue
			}
			if err == nil {
				_, err = dst.Write(p.out)
			}
			if first = err; err != nil {
				close(failed)
			} else {
				free <- p
			}
		}
		written <- first
	}()
	read := func() error {
		for at := int64(0); ; {
			var p *piece
			select {
			case p = <-free:
			case <-failed:
				return nil
			}
			if p.in == nil { // most files are short
				p.in = make([]byte, size)
			}
			n, err := io.ReadFull(src, p.in)
			if n > 0 && (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) {
				go func(at int64) {
					var err error
					p.out, err = work(at, p.in[:n], p.out[:0])
					p.done <- err
				}(at)
				queue <- p
				at += int64(n)
			}
			switch {
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				return nil
			case err != nil:
				return err
			}
		}
	}
	err := read()
	close(queue)
	return errors.Join(err, <-written)
}
