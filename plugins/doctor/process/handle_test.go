package process

import (
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAliveUnderSignals asks for a living process while signals interrupt the thread that asks, as the Go runtime's own do
// on a busy machine: poll(2) answers EINTR then, which says nothing about the process.
func TestAliveUnderSignals(t *testing.T) {
	st, err := ReadStat(folder("/proc", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Hold("/proc", Ident{PID: os.Getpid(), Start: st.Start})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid, stop := unix.Gettid(), make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
			}
		}
	}()
	for deadline, n := time.Now().Add(2*time.Second), 0; time.Now().Before(deadline); n++ {
		if !h.Alive() {
			t.Fatalf("asked for the %dth time, this process is not alive", n+1)
		}
	}
}
