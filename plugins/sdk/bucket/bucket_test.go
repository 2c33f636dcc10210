package bucket

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestSender writes to somebody who takes nothing.
func TestSender(t *testing.T) {
	here, there := net.Pipe()
	t.Cleanup(func() { _ = here.Close(); _ = there.Close() })
	if _, err := (sender{here, time.Millisecond}).Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
