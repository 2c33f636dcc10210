package terraform_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/terraform"
)

// engine makes the test binary apply a module in a separate process that a test can kill.
type engine struct {
	Dir, Module, PublicKey, What, Program string
	Run                                   core.RunID
	Variables                             map[string]any
	Providers                             map[string]string
	Destroy                               bool // destroy everything instead of applying
}

const engineEnv = "TROOP_TEST_ENGINE"

// applied reports whether this process is an engine, after running it.
func applied() bool {
	text := os.Getenv(engineEnv)
	if text == "" {
		return false
	}
	var e engine
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		panic(err)
	}
	if err := e.apply(context.Background()); err != nil {
		panic(err)
	}
	return true
}

func (e engine) open(ctx context.Context) (*terraform.Workspace, error) {
	return terraform.Open(ctx, terraform.Options{
		Dir: e.Dir, Program: e.Program, Module: os.DirFS(e.Module), Environment: "lab", PublicKey: e.PublicKey,
		What: e.What, Run: e.Run, Variables: e.Variables, Providers: e.Providers,
	})
}

func (e engine) apply(ctx context.Context) error {
	w, err := e.open(ctx)
	if err != nil {
		return err
	}
	plan := w.Plan
	if e.Destroy {
		plan = w.PlanDestroy
	}
	p, err := plan(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("applying\n"); err != nil {
		return err
	}
	return w.Apply(ctx, p, nil)
}

func (e engine) command(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), engineEnv+"="+string(text))
	return cmd
}

// start starts the process, which plans and then applies; applying is closed when the apply begins. The caller must stop
// the process and wait for it.
func (e engine) start(t *testing.T) (process *exec.Cmd, applying <-chan struct{}) {
	t.Helper()
	cmd := e.command(t)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	began := make(chan struct{})
	go func() {
		defer close(began) // also if the process ends earlier
		_, _ = bufio.NewReader(out).ReadString('\n')
	}()
	return cmd, began
}
