package remote

import (
	"io"
	"net"
)

// withDeadlines joins an SSH channel, whose deadlines are not supported, to a connection that has them. Closing
// either end closes both.
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
