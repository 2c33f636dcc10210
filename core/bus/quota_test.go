package bus_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/bus/redistest"
)

// limited is a small Redis with the program of the role redis that keeps the limits of each host. The canary's address is
// 127.0.0.2.
func limited(t *testing.T) *redistest.Server {
	t.Helper()
	m := environment(t)
	m.Arguments = append(m.Arguments, "--maxmemory", "24mb", "--maxmemory-policy", "noeviction", "--maxclients", "400")
	m.Restart()
	conf, err := json.Marshal(map[string]any{
		"self": "router-1", "socket": m.Socket, "password": redistest.PasswordOf("quota"), "routers": []string{"router-1"},
		"hosts": map[string]string{"router-1": "127.0.0.1", "web-1": "127.0.0.3", "canary-1": "127.0.0.2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "conf.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "python3", "-I", redistest.Role("files/redis-quota.py"), file)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines, ready := bufio.NewScanner(out), make(chan struct{})
	connected := sync.OnceFunc(func() { close(ready) })
	go func() {
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "keeps the limits of 2 hosts") {
				connected()
			}
		}
	}()
	t.Cleanup(func() { _ = c.Wait() })
	<-ready
	return m
}

// TestFloods has a taken host fill Redis, in every way that its user may, for as long as the test goes on. Whoever steers
// the environment still can, and nothing of another host is touched.
func TestFloods(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	var held []*redis.Client // what is forgotten is closed
	floods := map[string]func(ctx context.Context, c *redis.Client, n int) error{
		"events": func(ctx context.Context, c *redis.Client, _ int) error {
			return c.XAdd(ctx, &redis.XAddArgs{Stream: "troop:events:canary-1", Values: []any{"event", big}}).Err()
		},
		"one large event": func(ctx context.Context, c *redis.Client, _ int) error {
			return c.XAdd(ctx, &redis.XAddArgs{Stream: "troop:events:canary-1", Values: []any{"event", strings.Repeat(big, 50)}}).Err()
		},
		"marks": func(ctx context.Context, c *redis.Client, n int) error {
			return c.Set(ctx, fmt.Sprint("troop:event:canary-1:", n), big, 0).Err()
		},
		"very many marks": func(ctx context.Context, c *redis.Client, n int) error {
			_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i := range 1000 {
					p.Set(ctx, fmt.Sprint("troop:event:canary-1:", n, "-", i), "", 0)
				}
				return nil
			})
			return err
		},
		"a report": func(ctx context.Context, c *redis.Client, n int) error {
			return c.HSet(ctx, "troop:report:canary-1:doctor:report", fmt.Sprint(n), big).Err()
		},
		"connections": func(ctx context.Context, c *redis.Client, _ int) error {
			held = append(held, redis.NewClient(c.Options()))
			return held[len(held)-1].Ping(ctx).Err()
		},
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			m := limited(t)
			fence := int64(1)
			op, web := operator(t, m, &fence), on(t, m, "web-1", "", nil)
			ctx := t.Context()
			if err := web.Publish(ctx, event(1)); err != nil {
				t.Fatal(err)
			}
			if _, err := web.State("doctor").Set(ctx, core.HostKey("web-1", "report"), []byte("well")); err != nil {
				t.Fatal(err)
			}
			before := everything(t, op)
			canary := opened(t, bus.Options{
				Address: m.Addr, Certificates: m.Certificates, User: bus.UserOf("canary-1"), Password: redistest.PasswordOf("canary-1"),
				Dial: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
			}).Client()
			flooding, stop := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for n := 0; flooding.Err() == nil; n++ {
					if flood(flooding, canary, n) != nil {
						time.Sleep(time.Millisecond) // refused
					}
				}
			}()
			defer func() {
				stop()
				<-done
				for _, c := range append(held, canary) {
					_ = c.Close()
				}
				held = nil
			}()
			closed := func() bool {
				all, _ := op.Events(ctx, core.EventFilter{Kinds: []string{"quota.exceeded"}}, 0)
				return len(all) > 0 && all[0].Host == "router-1" && all[0].Key == "router-1/quota/redis/canary-1" && all[0].Severity == core.Alert
			}
			for began := time.Now(); !closed(); time.Sleep(20 * time.Millisecond) {
				if time.Since(began) > time.Minute {
					t.Fatal("the host is not closed")
				}
			}
			for i := range 20 {
				var err error
				for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
					if _, err = op.State("deploy").Set(ctx, "order", []byte("abort")); err == nil || time.Since(began) > 10*time.Second {
						break
					}
				}
				if err != nil {
					t.Fatalf("order %d: %v", i, err)
				}
			}
			after := everything(t, op)
			for key, value := range before {
				if after[key] != value {
					t.Errorf("%s has changed", key)
				}
			}
		})
	}
}
