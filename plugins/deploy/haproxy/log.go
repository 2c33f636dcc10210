package haproxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Request is one request as HAProxy logs it, in the format "%b %s %ST %Tr %ts" of the role router.
type Request struct {
	Backend     string
	Server      string // "<NOSRV>" when no server was chosen
	Status      int
	Wait        time.Duration // for the first byte of the answer; negative when there was none
	Termination string        // how the session ended, "--" when normally
}

// ParseRequest reads one line of the log.
func ParseRequest(line string) (Request, error) {
	f := strings.Fields(line)
	if len(f) != 5 {
		return Request{}, fmt.Errorf("read log line %q: want 5 fields", line)
	}
	status, err := strconv.Atoi(f[2])
	if err != nil {
		return Request{}, fmt.Errorf("read log line %q: %w", line, err)
	}
	ms, err := strconv.ParseInt(strings.TrimPrefix(f[3], "+"), 10, 64)
	if err != nil {
		return Request{}, fmt.Errorf("read log line %q: %w", line, err)
	}
	return Request{
		Backend: f[0], Server: f[1], Status: status, Wait: time.Duration(ms) * time.Millisecond, Termination: f[4],
	}, nil
}

// Abandoned reports whether the client went away before the answer was complete.
func (r Request) Abandoned() bool { return strings.HasPrefix(r.Termination, "C") }

// Log receives what HAProxy logs, one datagram for each line. HAProxy drops lines that nobody receives.
type Log struct{ conn *net.UnixConn }

// ListenLog opens the socket that HAProxy logs to, in place of an old one.
func ListenLog(path string) (*Log, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old log socket: %w", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("open log socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		_ = conn.Close() // the first error matters more
		return nil, fmt.Errorf("open log socket: %w", err)
	}
	return &Log{conn: conn}, nil
}

// Each calls f with every request until the log is closed. Lines of another form are skipped: HAProxy also logs that
// it starts, and that a server changes.
func (l *Log) Each(f func(Request)) {
	buf := make([]byte, 2048)
	for {
		n, err := l.conn.Read(buf)
		if err != nil {
			return
		}
		if r, err := ParseRequest(string(buf[:n])); err == nil {
			f(r)
		}
	}
}

// Close ends Each.
func (l *Log) Close() error { return l.conn.Close() }
