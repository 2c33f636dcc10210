package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

// restorer restores dumps of accessories for a drill, as the role data has it on the host of the databases.
type restorer struct {
	folder string // of the dumps
	socket string // takes one dump on each connection; the last line of its answer begins with "ok", or says what is wrong
}

var hostRestorer = restorer{folder: "/var/dumps/accessories", socket: "/run/troop-drill.sock"}

const (
	restoreTime = time.Hour // the most for one dump
	mostAnswer  = 64 << 10
)

var errNotRestored = errors.New("the stored dump is what was sent, and cannot be restored")

// drill reads a stored file back and compares it with its receipt. A dump is also restored; what came of it is returned.
func (r restorer) drill(ctx context.Context, from storage.Store, rec storage.Receipt) (restored string, err error) {
	if !file.Below(string(rec.Path), r.folder) {
		return "", storage.Fetch(from, rec.Object, io.Discard)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", r.socket)
	if errors.Is(err, fs.ErrNotExist) { // the host has no accessories any more
		return "", storage.Fetch(from, rec.Object, io.Discard)
	}
	if err != nil {
		return "", fmt.Errorf("restore the dump: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(restoreTime)); err != nil {
		return "", err
	}
	to := &untilFailure{Writer: conn}
	if err := storage.Fetch(from, rec.Object, to); err != nil {
		return "", err
	}
	if c, ok := conn.(*net.UnixConn); ok && to.err == nil {
		to.err = c.CloseWrite()
	}
	answer, err := io.ReadAll(io.LimitReader(conn, mostAnswer))
	answer = bytes.TrimSpace(answer)
	if last := answer[bytes.LastIndexByte(answer, '\n')+1:]; bytes.HasPrefix(last, []byte("ok: ")) && err == nil && to.err == nil {
		return string(last[len("ok: "):]), nil
	}
	if len(answer) > 0 {
		return "", fmt.Errorf("%w: %s", errNotRestored, strings.ReplaceAll(string(answer), "\n", "; "))
	}
	return "", fmt.Errorf("restore the dump: no answer: %w", errors.Join(io.ErrUnexpectedEOF, to.err, err))
}

// untilFailure drops what comes after a failed write: all is hashed even where the dump is given up early.
type untilFailure struct {
	io.Writer
	err error
}

func (w *untilFailure) Write(p []byte) (int, error) {
	if w.err == nil {
		_, w.err = w.Writer.Write(p)
	}
	return len(p), nil
}
