package remote

import (
	"io"
	"net"
)

// withDeadlines connects a stream that does not support deadlines, such as an SSH channel, to a connection that does. Closing either end
// closes both.
func withDeadlines(far io.ReadWriteCloser) net.Conn {
	near, inner := net.Pipe()
	go func() {
		_, _ = io.Copy(far, inner)
		_ = far.Close()
	}()
	go func() {
		_, _ = io.Copy(inner, far)
		_ = inner.Close()
	}()
	return near
}
