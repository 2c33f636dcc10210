// Command dummy is a scriptable plugin, well-behaved or not, for tests of the engine and the protocol. The environment
// variable DUMMY_START selects what it does before the handshake.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

type config struct {
	Log     []string       `hcl:"log,optional" doc:"Lines for the log."`
	Print   string         `hcl:"print,optional" doc:"Text for standard output."`
	Flood   int            `hcl:"flood,optional" doc:"Number of log lines to write as fast as possible."`
	Long    sdk.Size       `hcl:"long,optional" doc:"Size of one log line."`
	Huge    sdk.Size       `hcl:"huge,optional" doc:"Size of an output."`
	Noise   sdk.Size       `hcl:"noise,optional" doc:"Size of one line on standard error."`
	Output  map[string]int `hcl:"output,optional" doc:"Outputs."`
	Metric  *float64       `hcl:"metric,optional" doc:"A metric's value."`
	Nothing string         `hcl:"nothing,optional" doc:"A metric's value that is no number: NaN, +Inf or -Inf."`
	Finding string         `hcl:"finding,optional" doc:"A finding's message."`
	Sleep   sdk.Duration   `hcl:"sleep,optional" doc:"How long to work; ends early when cancelled."`
	WindUp  sdk.Duration   `hcl:"wind_up,optional" doc:"How long to clean up after a cancelled sleep."`
	Daemon  string         `hcl:"daemon,optional" doc:"Argument of a sleep(1) that is left behind as a daemon."`
	Exec    []string       `hcl:"exec,optional" doc:"A command to run."`
	Flag    string         `hcl:"flag,optional" doc:"A flag to read, which needs a capability that is not declared."`
	Notify  string         `hcl:"notify,optional" doc:"Kind of an event to send to people."`
	Invalid string         `hcl:"invalid,optional" doc:"Path of an attribute that Check complains about."`
	Skip    string         `hcl:"skip,optional" doc:"Reason to skip."`
	Fail    string         `hcl:"fail,optional" doc:"Verdict of a gate."`
	Error   string         `hcl:"error,optional" doc:"An error that is no verdict."`
	Panic   string         `hcl:"panic,optional" doc:"A panic within the call."`
	Crash   string         `hcl:"crash,optional" doc:"A panic in another goroutine."`
	Exit    *int           `hcl:"exit,optional" doc:"Status to exit with."`
	Kill    bool           `hcl:"kill,optional" doc:"Die by SIGKILL."`
	Hang    bool           `hcl:"hang,optional" doc:"Hang forever and ignore ctx."`
	Parts   []part         `hcl:"part,block" doc:"Nested blocks."`
	Secret  string         `hcl:"secret,optional" sensitive:"true" doc:"A sensitive argument."`
	Tries   int            `hcl:"tries" default:"3" doc:"An argument with a default."`
}

type part struct {
	Name   string   `hcl:"name,label"`
	Weight int      `hcl:"weight" doc:"A required argument."`
	Paths  []string `hcl:"paths,optional" doc:"A list."`
}

func main() {
	switch how, arg, _ := strings.Cut(os.Getenv("DUMMY_START"), " "); how {
	case "print":
		fmt.Fprintln(os.Stdout, arg)
	case "noise":
		fmt.Fprint(os.Stdout, strings.Repeat("x", 1<<20))
	case "socket":
		fmt.Fprintln(os.Stdout, "1|1|unix|/nonexistent/socket|grpc|")
		time.Sleep(time.Minute)
	case "garbage":
		serveGarbage()
	case "version":
		serveVersion(arg)
	case "exit":
		fmt.Fprintln(os.Stderr, arg)
		os.Exit(3)
	case "panic":
		panic(arg)
	case "hang":
		time.Sleep(time.Hour)
	case "foreign":
		serveForeign()
		return
	case "log":
		fmt.Fprintln(os.Stderr, arg)
	}
	sdk.Serve(stage)
}

// serveGarbage is a plugin that answers every connection with something other than TLS.
func serveGarbage() {
	path := filepath.Join(os.Getenv(plugin.EnvUnixSocketDir), "garbage")
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stdout, "1|1|unix|%s|grpc|\n", path)
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		_, _ = conn.Write([]byte(strings.Repeat("garbage\x00\xff", 1000)))
		_ = conn.Close()
	}
}

// serveVersion is a plugin built with an SDK of another protocol version.
func serveVersion(version string) {
	n, err := strconv.Atoi(version)
	if err != nil {
		panic(err)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: "TROOP_PLUGIN", MagicCookieValue: os.Getenv("TROOP_PLUGIN")},
		VersionedPlugins: map[int]plugin.PluginSet{n: {}},
		GRPCServer:       plugin.DefaultGRPCServer,
		Logger:           hclog.NewNullLogger(),
	})
}

// serveForeign is a plugin without this SDK, which does not take the core's keys.
func serveForeign() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{wire.Version: {wire.Name: &foreign{}}},
		GRPCServer:       plugin.DefaultGRPCServer,
		Logger:           hclog.NewNullLogger(),
	})
}

type foreign struct{ plugin.NetRPCUnsupportedPlugin }

func (*foreign) GRPCServer(broker *plugin.GRPCBroker, s *grpc.Server) error {
	server, err := sdk.Server(stage, func(id uint32) (sdk.Conn, error) { return broker.Dial(id) })
	if err == nil {
		wire.RegisterPluginServer(s, server)
	}
	return err
}

func (*foreign) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("a plugin is not a client")
}

var stage = sdk.Stage[config]{
	Name: "dummy", Version: "1.0.0", Summary: "do what it is told, good or bad",
	Capabilities: []sdk.Capability{sdk.Notify},
	Outputs:      []sdk.Output{{Name: "any", Doc: "What output says."}, {Name: "n", Doc: "The same."}, {Name: "huge", Doc: "What huge says."}},
	Check:        check,
	Run:          run,
	Agent:        &sdk.Agent[config]{Watch: run, User: "nobody", LinuxCapabilities: []string{"CAP_KILL"}},
	Actions: []sdk.Action[config]{{
		Name: "echo", Summary: "say what it is given",
		Args: []sdk.Arg{{Name: "text", Doc: "What to say.", Required: true}, {Name: "times", Doc: "How often.", Default: "1", Flag: true}},
		Run: func(_ context.Context, _ *config, args sdk.Args, job *sdk.Job) error {
			job.Table(sdk.Table{Columns: []string{"text", "times"}, Rows: [][]string{{args["text"], args["times"]}}})
			return nil
		},
	}, {
		Name: "wipe", Summary: "say whether it was told to go on",
		Args: []sdk.Arg{{Name: "yes", Doc: "do it without asking; --yes=false only shows what would be done", Default: "false", Flag: true}},
		Run: func(_ context.Context, _ *config, args sdk.Args, job *sdk.Job) error {
			job.Logf("told to go on: %s", args["yes"])
			return nil
		},
	}},
}

func check(c *config) error {
	if c.Invalid != "" {
		return sdk.BadAttr(c.Invalid, "told to be invalid")
	}
	return nil
}

func run(ctx context.Context, c *config, job *sdk.Job) error {
	speak(c, job)
	if c.Daemon != "" {
		cmd := exec.CommandContext(ctx, "setsid", "sh", "-c", "sleep "+c.Daemon+" & sleep "+c.Daemon+" &")
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	if c.Notify != "" {
		if err := job.Notify(ctx, sdk.Event{Kind: c.Notify, Severity: sdk.Info, Summary: "told to"}); err != nil {
			return err
		}
	}
	if len(c.Exec) > 0 {
		if err := job.Exec(ctx, sdk.Command{Args: c.Exec}); err != nil {
			return err
		}
	}
	if c.Flag != "" {
		if _, err := job.Flag(ctx, c.Flag); err != nil {
			return err
		}
	}
	die(c)
	if c.Sleep > 0 {
		select {
		case <-time.After(c.Sleep.Std()):
		case <-ctx.Done():
			time.Sleep(c.WindUp.Std())
			job.Logf("winding up: %v", context.Cause(ctx))
			return context.Cause(ctx)
		}
	}
	switch {
	case c.Skip != "":
		return sdk.Skipf("%s", c.Skip)
	case c.Fail != "":
		return sdk.Failf("%s", c.Fail)
	case c.Error != "":
		return errors.New(c.Error)
	}
	return nil
}

func speak(c *config, job *sdk.Job) {
	for _, line := range c.Log {
		job.Logf("%s", line)
	}
	if c.Print != "" {
		fmt.Fprintln(os.Stdout, c.Print)
		time.Sleep(100 * time.Millisecond) // the call's end does not wait for it
	}
	for i := range c.Flood {
		job.Logf("line %d", i)
	}
	if c.Long > 0 {
		job.Logf("%s", strings.Repeat("x", int(c.Long)))
	}
	if c.Noise > 0 {
		_, _ = syscall.Write(2, []byte(strings.Repeat("y", int(c.Noise))+"\n"))
		time.Sleep(100 * time.Millisecond) // the call's end does not wait for it
	}
	if c.Huge > 0 {
		job.Output("huge", strings.Repeat("x", int(c.Huge)))
	}
	for name, v := range c.Output {
		job.Output(name, v)
	}
	if c.Metric != nil {
		limit := 70.0
		job.Metric(sdk.Metric{Name: "told", Value: *c.Metric, Unit: "%", Limit: &limit})
	}
	if v, err := strconv.ParseFloat(c.Nothing, 64); err == nil {
		job.Metric(sdk.Metric{Name: "told", Value: v})
	}
	if c.Finding != "" {
		job.Finding(sdk.Finding{Path: "a.js", Line: 3, Column: 4, Severity: "error", Rule: "told", Message: c.Finding})
	}
	if c.Sleep > 0 {
		job.Progress(1, 2, "half")
	}
}

func die(c *config) {
	switch {
	case c.Panic != "":
		panic(c.Panic)
	case c.Crash != "":
		go func() { panic(c.Crash) }()
		time.Sleep(time.Hour)
	case c.Exit != nil:
		os.Exit(*c.Exit)
	case c.Kill:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case c.Hang:
		time.Sleep(time.Hour)
	}
}
