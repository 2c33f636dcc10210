package bus_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/bus/redistest"
)

// TestAway reads from a Redis that refuses connections, loads its data, cuts connections or hangs.
func TestAway(t *testing.T) {
	t.Parallel()
	answering := func(answer func(c net.Conn, command string)) string {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				go func() {
					defer c.Close()
					for lines := bufio.NewScanner(c); lines.Scan(); {
						if text := strings.ToUpper(lines.Text()); len(text) > 0 && text[0] >= 'A' && text[0] <= 'Z' {
							answer(c, text)
						}
					}
				}()
			}
		}()
		return l.Addr().String()
	}
	stopped, hanging := redistest.Start(t), redistest.Start(t)
	stopped.Stop()
	hanging.Hang()
	for name, address := range map[string]string{
		"refused": stopped.Addr,
		"hangs":   hanging.Addr,
		"loading": answering(func(c net.Conn, command string) {
			if slices.Contains([]string{"AUTH", "PING", "XRANGE", "HGETALL"}, command) { // and no argument of theirs
				_, _ = io.WriteString(c, "-LOADING Redis is loading the dataset in memory\r\n")
			}
		}),
		"reset": answering(func(c net.Conn, _ string) { _ = c.Close() }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bus.Open(bus.Options{Address: address, Password: redistest.Password, Environment: "lab"})
			t.Cleanup(func() { _ = b.Close() })
			_, err := b.Events(t.Context(), core.EventFilter{}, 0)
			_, err2 := b.State("deploy").Get(t.Context(), "desired")
			err3 := b.Tail(t.Context(), core.EventFilter{}, func(core.Event) error { return nil })
			for _, err := range []error{err, err2, err3} {
				if _, ok := errors.AsType[*bus.AwayError](err); !ok || !strings.Contains(err.Error(), "environment lab does not answer") {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	b, m := open(t)
	m.Restart() // under a connection that stands
	if _, err := b.Events(t.Context(), core.EventFilter{}, 0); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}
