package remote

import (
	"io"
	"net"
)

// withDeadlines connects an SSH channel, which does not support deadlines, to a connection that does. Closing either end
// closes both.
func withDeadlines(far net.Conn) net.Conn {
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
