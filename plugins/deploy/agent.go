package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/agent"
	"github.com/seed-b96de936/troop/plugins/deploy/router"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// routerGroup may use the admin socket and write the router's folder.
const routerGroup = "troop-router"

// setting is where and how the agent runs.
type setting struct {
	paths   router.Paths
	silence time.Duration // after which a driver is taken for dead
	retry   time.Duration // after the first attempt at a certificate that failed
}

// onRouter is the setting that the role router prepares.
func onRouter() setting {
	return setting{
		paths:   router.Paths{Dir: "/var/lib/troop-router", Socket: "/run/haproxy/admin.sock"},
		silence: state.Silence,
		retry:   2 * time.Minute, // five in the first hour, which is what Let's Encrypt allows
	}
}

// watch runs the agent on the router.
func (s setting) watch(ctx context.Context, c *config, job *sdk.Job) error {
	id, err := identity(c)
	if err != nil {
		return err
	}
	failOn, err := traffic.ParseCriteria(c.Canary.FailOn)
	if err != nil {
		return err
	}
	name, err := serviceName(c, job)
	if err != nil {
		return err
	}
	return agent.Run(ctx, agent.Config{
		Service: name, ID: id, Paths: s.paths, Drain: c.drain(), Silence: s.silence,
		Alerts: c.Canary.Alerts, Guard: c.limits(), FailOn: failOn, Retry: s.retry,
	}, job)
}

// identity differs when the program or the agent's configuration differs, so that the stage knows whether the agent on
// the router is the one that it would install. Artifact and service do not concern the agent.
func identity(c *config) (string, error) {
	program, err := ownDigest()
	if err != nil {
		return "", fmt.Errorf("read own program: %w", err)
	}
	sum := sha256.Sum256(append([]byte(program), state.Encode([]any{c.Canary, c.Production})...))
	return hex.EncodeToString(sum[:])[:16], nil
}

// ownDigest is the hash of the running program.
func ownDigest() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(self)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return string(sum.Sum(nil)), err
}
