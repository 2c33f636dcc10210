package service_test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
	"github.com/seed-b96de936/troop/plugins/sdk/service"
)

func TestMain(m *testing.M) {
	proc.Main()
	m.Run()
}

type config struct {
	Command  []string          `hcl:"command"`
	Env      map[string]string `hcl:"env,optional"`
	Services []service.Config  `hcl:"service,block"`
}

// stage runs its command beside its services, as the build and the test stage do.
var stage = sdk.Stage[config]{
	Name: "dummy", Version: "1", Capabilities: []sdk.Capability{sdk.Workspace},
	Check: func(c *config) error { return service.Check(c.Services) },
	Run: func(ctx context.Context, c *config, job *sdk.Job) error {
		services, err := service.Start(ctx, job, c.Services)
		if err != nil {
			return err
		}
		defer services.Stop()
		args, env, err := services.Command(c.Command, c.Env)
		if err != nil {
			return err
		}
		if err := job.Exec(ctx, sdk.Command{Args: args, Env: env}); err != nil {
			return services.Explain(sdk.Failf("%v", err))
		}
		return nil
	},
}

// options are what the core puts in place of ports, as expressions have it.
func options(t *testing.T, names ...string) sdktest.Options {
	ports := map[string]cty.Value{}
	for _, n := range names {
		ports[n] = cty.ObjectVal(map[string]cty.Value{"port": cty.StringVal(contract.Late(contract.LatePort, n))})
	}
	return sdktest.Options{
		Info: sdk.RunInfo{Workspace: t.TempDir(), StateDir: t.TempDir()},
		Scope: map[string]cty.Value{
			"port": cty.StringVal(contract.Late(contract.LatePort, "")), "service": cty.ObjectVal(ports),
			"tcp": cty.StringVal("tcp://127.0.0.1:" + contract.Late(contract.LatePort, "")),
		},
	}
}

var portPattern = regexp.MustCompile(`ready on port (\d+)`)

// TestRedis: a real service gets a port, answers the command, logs to the stage, and is gone afterwards.
func TestRedis(t *testing.T) {
	r := sdktest.Run(t, stage, `
		service "redis" {
		  command = ["redis-server", "--port", port, "--save", ""]
		  ready   = tcp
		}
		service "second-one" { command = ["redis-server", "--port", port, "--save", "", "--replicaof", "127.0.0.1 ${service.redis.port}"] }
		env     = { URL = "redis://127.0.0.1:${service.redis.port}" }
		command = ["sh", "-euc", "redis-cli -u $URL ping; redis-cli -p $REDIS_PORT ping; redis-cli -p $SECOND_ONE_PORT ping; redis-cli -p $0 ping", service.redis.port]`,
		options(t, "redis", "second-one"))
	log := strings.Join(r.Logs, "\n")
	if r.Err != nil || strings.Count(log, "\nPONG") != 4 || !strings.Contains(log, "redis | ") || !strings.Contains(log, "second-one | ") {
		t.Fatalf("%v\n%s", r.Err, log)
	}
	for _, m := range portPattern.FindAllStringSubmatch(log, -1) {
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+m[1]); err == nil {
			_ = conn.Close()
			t.Errorf("port %s still answers", m[1])
		}
	}
}

func TestHTTP(t *testing.T) {
	o := options(t, "web")
	body := func(health string) string {
		return fmt.Sprintf(`
		service "web" {
		  command = ["node", "-e", "setTimeout(() => require('http').createServer((q, a) => { a.statusCode = q.url === '/up' ? 204 : 500; a.end() }).listen(process.env.PORT), 300)"]
		  ready   = "http://127.0.0.1:${port}/%s"
		  timeout = "3s"
		}
		command = ["true"]`, health)
	}
	if r := sdktest.Run(t, stage, body("up"), o); r.Err != nil {
		t.Error(r.Err, r.Logs)
	}
	if r := sdktest.Run(t, stage, body("down"), o); r.Err == nil || !strings.Contains(r.Err.Error(), "service web: not ready after 3s: http://127.0.0.1:") || !strings.Contains(r.Err.Error(), "500") {
		t.Error(r.Err)
	}
}

func TestTrouble(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"no program":  {`service "a" { command = ["no-such-program"] }`, "service a: it ended: run no-such-program:"},
		"ends early":  {`service "a" { command = ["sh", "-c", "exit 3"] }`, "service a: it ended: sh"},
		"silent":      {"service \"a\" {\n command = [\"sleep\", \"60\"]\n timeout = \"100ms\"\n}", "service a: not ready after 100ms"},
		"gone before": {`service "a" { command = ["node", "-e", "require('net').createServer(() => process.exit(4)).listen(process.env.PORT)"] }`, "exit status 1; service a: it ended: node"},
		"order": {`service "a" { command = ["sleep", service.b.port] }
			service "b" { command = ["true"] }`, "the port of service b is not known here: services start in their order"},
	} {
		t.Run(name, func(t *testing.T) {
			command := "\ncommand = [\"sh\", \"-c\", \"node -e \\\"require('net').connect(process.env.A_PORT).on('close', () => process.exit(1)).on('error', () => process.exit(1))\\\"\"]"
			r := sdktest.Run(t, stage, test.body+command, options(t, "a", "b"))
			if r.Err == nil || !strings.Contains(r.Err.Error(), test.want) {
				t.Errorf("got %v, want %s\n%s", r.Err, test.want, strings.Join(r.Logs, "\n"))
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for body, want := range map[string]string{
		`service "a" { command = [] }`:                                                               "empty list",
		"service \"a\" {\n command = [\"x\"]\n ready = \"soon\"\n}":                                  `want tcp(port) or a URL`,
		"service \"a\" {\n command = [\"x\"]\n dir = \"../b\"\n}":                                    "want a folder inside the source",
		`service "1" { command = ["x"] }`:                                                            "no name of its own",
		"service \"a-b\" { command = [\"x\"] }\nservice \"a_b\" { command = [\"x\"] }":               "no name of its own",
		"service \"a\" {\n command = [\"x\", port]\n ready = \"http://127.0.0.1:${port}/health\"\n}": "",
	} {
		err := sdktest.Check(t, stage, "command = [\"true\"]\n"+body, options(t))
		if want == "" && err != nil || want != "" && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}
