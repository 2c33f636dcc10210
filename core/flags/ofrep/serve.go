package ofrep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/seed-b96de936/troop/core/flags"
)

// stopWithin is how long requests that are being answered may take when the server stops.
const stopWithin = 2 * time.Second

// Serve follows the flags and answers at the address until ctx ends. Its copy is in dir. It answers from the copy at once,
// whether or not Redis is there. refused, which may be nil, hears of flags that it does not take.
func Serve(ctx context.Context, address, dir string, from *flags.Flags, log *slog.Logger, refused func(error)) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve flags: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	copied := flags.OpenCopy(filepath.Join(dir, "flags.json"), log)
	copied.Refused = refused
	following := make(chan struct{})
	go func() {
		defer close(following)
		_ = copied.Run(ctx, from)
	}()
	server := New(copied).HTTP(ctx)
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		_ = server.Shutdown(end)
	}()
	log.Info("serving flags", "address", l.Addr().String())
	err = server.Serve(l)
	stop()
	<-stopped
	<-following
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve flags: %w", err)
}
