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

// Request is one request as HAProxy logs it, in the format "%b %s %ST %Tr %Ta %[var(txn.note)] %[var(txn.class)]" of the role
// router.
type Request struct {
	Backend string
	Server  string // "<NOSRV>" when no server was chosen
	Status  int
	First   time.Duration // until the first byte of the answer; negative when there was none
	Last    time.Duration // until the last byte, or until the request was given up
	Missed  bool          // it was the canary's turn, and the canary had no server for it
	Tester  bool          // the client chose the pool
	Class   string        // what the service calls this kind of request, or its path
}

// ParseRequest reads one line of the log.
func ParseRequest(line string) (Request, error) {
	const fields = 7
	f := strings.SplitN(strings.TrimSpace(line), " ", fields)
	if len(f) != fields {
		return Request{}, fmt.Errorf("read log line %q: want %d fields", line, fields)
	}
	status, err := strconv.Atoi(f[2])
	if err != nil {
		return Request{}, fmt.Errorf("read log line %q: %w", line, err)
	}
	var times [2]time.Duration
	for i, field := range f[3:5] {
		ms, err := strconv.ParseInt(strings.TrimPrefix(field, "+"), 10, 64)
		if err != nil {
			return Request{}, fmt.Errorf("read log line %q: %w", line, err)
		}
		times[i] = time.Duration(ms) * time.Millisecond
	}
	return Request{
		Backend: f[0], Server: f[1], Status: status, First: times[0], Last: times[1], Missed: f[5] == "1", Tester: f[5] == "2",
		Class: strings.TrimSpace(f[6]),
	}, nil
}

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
