package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// greeting is the configuration of the stage of these examples:
//
//	stage "greet" "world" {
//	  name = "world"
//	}
type greeting struct {
	Name  string       `hcl:"name" doc:"whom to greet"`
	Every sdk.Duration `hcl:"every" default:"\"10s\"" doc:"pause between two greetings of the agent"`
}

// A stage is one value. In a main function, sdk.Serve(stage) makes a plugin of it; here a test runs it.
func ExampleStage() {
	stage := sdk.Stage[greeting]{
		Name: "greet", Version: "0.1.0", Summary: "greets",
		Run: func(_ context.Context, c *greeting, job *sdk.Job) error {
			if c.Name == "nobody" {
				return sdk.Skipf("there is nobody to greet")
			}
			job.Logf("hello %s", c.Name)
			return nil
		},
	}
	r := sdktest.Run(example(), stage, `name = "world"`)
	fmt.Println(r.Logs, r.Err)
	r = sdktest.Run(example(), stage, `name = "nobody"`)
	fmt.Println(r.Logs, r.Err)
	// Output:
	// [hello world] <nil>
	// [] there is nobody to greet
}

// An action is a command, here troop greet list, with arguments and a table.
func ExampleAction() {
	stage := sdk.Stage[greeting]{
		Name: "greet", Version: "0.1.0", Summary: "greets",
		Capabilities: []sdk.Capability{sdk.Inventory},
		Actions: []sdk.Action[greeting]{{
			Name: "list", Summary: "list the hosts that can be greeted",
			Args: []sdk.Arg{{Name: "role", Doc: "only hosts of this role", Flag: true}},
			Run: func(ctx context.Context, _ *greeting, args sdk.Args, job *sdk.Job) error {
				hosts, err := job.Hosts(ctx)
				if err != nil {
					return err
				}
				table := sdk.Table{Columns: []string{"host", "role"}}
				for _, h := range hosts {
					if args["role"] == "" || args["role"] == h.Role {
						table.Rows = append(table.Rows, []string{string(h.Name), h.Role})
					}
				}
				job.Table(table)
				return nil
			},
		}},
	}
	fake := &sdktest.Fake{Hosts: []sdk.Host{{Name: "web-1", Role: "production"}, {Name: "canary-1", Role: "canary"}}}
	r := sdktest.Call(example(), stage, `name = "world"`, "list", map[string]string{"role": "canary"}, sdktest.Options{Fake: fake})
	fmt.Println(r.Tables[0].Rows, r.Err)
	// Output: [[canary-1 canary]] <nil>
}

// An agent lives on a host until its context ends. It declares its own capabilities; what only it needs does not make
// the stage need an environment.
func ExampleAgent() {
	stage := sdk.Stage[greeting]{
		Name: "greet", Version: "0.1.0", Summary: "greets",
		Agent: &sdk.Agent[greeting]{
			Capabilities: []sdk.Capability{sdk.State},
			Watch: func(ctx context.Context, c *greeting, job *sdk.Job) error {
				for {
					if _, err := job.SetState(ctx, "greeted", []byte(c.Name)); err != nil && !errors.Is(err, sdk.ErrUnavailable) {
						return err
					}
					select {
					case <-ctx.Done():
						return context.Cause(ctx)
					case <-time.After(c.Every.Std()):
					}
				}
			},
		},
	}
	fake := &sdktest.Fake{}
	ctx, cancel := context.WithCancelCause(context.Background())
	stopped := errors.New("the host shuts down")
	go func() { // as an operator would look
		for fake.State("greeted").Version == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(stopped)
	}()
	r := sdktest.Watch(ctx, example(), stage, `name = "world"`, sdktest.Options{Fake: fake})
	fmt.Println(string(fake.State("greeted").Value), errors.Is(r.Err, stopped))
	// Output: world true
}

// An output is declared, and handed on to stages that refer to stage.greet.NAME.greeted.
func ExampleJob_Output() {
	stage := sdk.Stage[greeting]{
		Name: "greet", Version: "0.1.0", Summary: "greets",
		Outputs: []sdk.Output{{Name: "greeted", Doc: "whom the stage has greeted"}},
		Run: func(_ context.Context, c *greeting, job *sdk.Job) error {
			job.Output("greeted", c.Name)
			return nil
		},
	}
	r := sdktest.Run(example(), stage, `name = "world"`)
	fmt.Println(r.Outputs["greeted"], r.Err)
	// Output: world <nil>
}

// BadAttr points at an attribute: the user reads the place of it in the manifest.
func ExampleBadAttr() {
	type config struct {
		Address string `hcl:"address" doc:"host:port"`
	}
	stage := sdk.Stage[config]{
		Name: "wait", Version: "0.1.0", Summary: "waits for an address",
		Check: func(c *config) error {
			if _, _, err := net.SplitHostPort(c.Address); err != nil {
				return sdk.BadAttr("address", "want host:port, got %q", c.Address)
			}
			return nil
		},
		Run: func(context.Context, *config, *sdk.Job) error { return nil },
	}
	fmt.Println(sdktest.Check(example(), stage, "\n  address = \"localhost\"\n"))
	// Output: pipeline.hcl:2,3-24: Invalid wait stage; want host:port, got "localhost"
}

// A secret that the block refers to is asked for by name; errors keep their kind.
func ExampleJob_secret() {
	stage := sdk.Stage[greeting]{
		Name: "greet", Version: "0.1.0", Summary: "greets",
		Capabilities: []sdk.Capability{sdk.Secrets},
		Run: func(ctx context.Context, c *greeting, job *sdk.Job) error {
			token, err := job.Secret(ctx, c.Name)
			if errors.Is(err, sdk.ErrNotFound) {
				return sdk.Failf("%v", err)
			}
			job.Logf("the token has %d characters", len(token))
			return err
		},
	}
	fake := &sdktest.Fake{Secrets: map[string]string{"registry": "hunter22"}}
	fmt.Println(sdktest.Run(example(), stage, `name = "registry"`, sdktest.Options{Fake: fake}).Logs)
	fmt.Println(sdktest.Run(example(), stage, `name = "other"`, sdktest.Options{Fake: fake}).Err)
	// Output:
	// [the token has 8 characters]
	// read secret other: secret other not found; the stage's block must refer to secret.other or env.other
}

// example stands for the t of a test function.
func example() testing.TB { return &exampleTB{} }

// exampleTB is enough of a testing.TB for sdktest, outside of a test function.
type exampleTB struct{ testing.TB }

func (*exampleTB) Helper()                      {}
func (*exampleTB) Cleanup(func())               {}
func (*exampleTB) Context() context.Context     { return context.Background() }
func (*exampleTB) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (*exampleTB) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
