// Command wait is a stage that holds a run until a TCP address answers. It is the smallest useful plugin: copy
// it to begin one of your own.
package main

import (
	"context"
	"net"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

type config struct {
	Address string `hcl:"address" doc:"What must answer, as host:port."`
}

var stage = sdk.Stage[config]{
	Name: "wait", Version: "0.1.0", Summary: "hold a run until a TCP address answers",
	Check: check, Run: run,
}

func main() { sdk.Serve(stage) }

func check(c *config) error {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return sdk.BadAttr("address", "want host:port, got %q", c.Address)
	}
	return nil
}

func run(ctx context.Context, c *config, job *sdk.Job) error {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.Address)
		if err == nil {
			return conn.Close()
		}
		job.Logf("%s: not ready: %v", c.Address, err)
		select {
		case <-ctx.Done(): // the core sets the deadline
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}
