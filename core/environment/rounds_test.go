package environment

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/gofrs/flock"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/vault"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

// In a round, two processes with real leases, vaults and journals bring a release each to four hosts, through a real S3
// server. A host is a file, which refuses a smaller number, as the router's agent and the release's playbook do.

// game is what a process that plays a round is told.
type game struct {
	store.S3Options
	Machine, Hosts, Release, Identity, Recipient string
}

const (
	gameVariable = "TROOP_ROUND"
	hostsOfGame  = 4
	leaseOfGame  = 2 * time.Second
)

// played plays a round when this process was started for it.
func played() bool {
	text := os.Getenv(gameVariable)
	if text == "" {
		return false
	}
	var g game
	err := json.Unmarshal([]byte(text), &g)
	if err == nil {
		err = g.play()
	}
	if err != nil {
		fmt.Fprintln(os.Stdout, "failed:", err)
	}
	return true
}

func (g game) pipeline() *core.Pipeline {
	return &core.Pipeline{
		Name: "shop", Environments: []core.Environment{{Name: "lab"}},
		Team: []core.Member{{Name: "one", Keys: []string{g.Recipient}}},
	}
}

func (g game) identities() *vault.Identities {
	return &vault.Identities{Env: func(string) string { return g.Identity }}
}

func (g game) open(ctx context.Context, say func(string)) (*store.Files, error) {
	s3, err := store.OpenS3(ctx, g.S3Options)
	if err != nil {
		return nil, err
	}
	f := store.OpenShared(g.Machine, store.Patient{Objects: s3, Wait: 2 * leaseOfGame}, say, nil)
	f.Lease = leaseOfGame
	return f, nil
}

// play is a run: it is recorded, takes the environment, deploys, and gives the environment back.
func (g game) play() error {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	say := func(line string) { fmt.Fprintln(os.Stdout, line) }
	files, err := g.open(ctx, say)
	if err != nil {
		return err
	}
	run := core.Run{ID: core.RunID(core.NewID(time.Now())), Pipeline: "shop", Environment: "lab", Status: core.Running, Started: time.Now(), PID: os.Getpid()}
	if err := files.PutRun(ctx, run); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "run", run.ID)
	e, err := Open(Options{
		Pipeline: g.pipeline(), Name: "lab", Dir: g.Machine, What: "troop run", Run: run.ID, By: g.Release, Locks: files,
		Vault: &Vault{Objects: files.Objects(), Identities: g.identities()}, Stop: stop, Log: say,
	})
	if err != nil {
		return err
	}
	e.share.every = 20 * time.Millisecond
	release, err := e.Lock(ctx)
	if err == nil {
		err = g.deploy(ctx, e, files, run.ID)
		fmt.Fprintln(os.Stdout, "releases")
		if err = errors.Join(err, release(), e.Close()); err == nil {
			fmt.Fprintln(os.Stdout, "released")
		}
	}
	run.Status, run.Ended = core.Passed, time.Now()
	if err != nil {
		run.Status, run.Reason = core.Failed, err.Error()
	}
	if err = errors.Join(err, files.PutRun(ctx, run), files.Close()); err == nil {
		fmt.Fprintln(os.Stdout, "recorded")
	}
	return err
}

//nolint:contextcheck // Fence asks nobody while the environment is held
func (g game) deploy(ctx context.Context, e *Environment, files *store.Files, id core.RunID) error {
	fence, err := e.Fence()
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "holds", fence)
	for i := range hostsOfGame {
		if cause := context.Cause(ctx); cause != nil { // a safe point
			return cause
		}
		if fence, err = e.Fence(); err != nil {
			return err
		}
		if err := steer(filepath.Join(g.Hosts, strconv.Itoa(i)), fence, g.Release); err != nil {
			return err
		}
		if err := os.WriteFile(e.hostsFile(), fmt.Appendf(nil, "%s %d", g.Release, i), 0o600); err != nil {
			return err
		}
		if err := files.Append(ctx, core.Event{Run: id, Kind: core.KindLog, Summary: fmt.Sprintf("host %d", i)}); err != nil {
			return err
		}
		time.Sleep(30 * time.Millisecond)
	}
	if err := os.WriteFile(e.hostsFile(), []byte(g.Release+" everywhere"), 0o600); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "everywhere")
	return nil
}

// served is what a host serves, and on whose word.
type served struct {
	Fence   int64
	Release string
}

// steer gives a host a release, unless a later holder has spoken to it.
func steer(host string, fence int64, release string) error {
	l := flock.New(host + ".lock")
	if err := l.Lock(); err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	var now served
	if b, err := os.ReadFile(host); err == nil {
		if err := json.Unmarshal(b, &now); err != nil {
			return err
		}
	}
	if now.Fence > fence {
		return fmt.Errorf("the host obeys holder %d, and not %d any more", now.Fence, fence)
	}
	b, err := json.Marshal(served{fence, release})
	if err != nil {
		return err
	}
	return os.WriteFile(host, b, 0o600)
}

// player is a process in a round, and what it said.
type player struct {
	game
	line *buckettest.Line
	cmd  *exec.Cmd
	said strings.Builder

	mu       sync.Mutex
	requests int
	written  []buckettest.Request // successful writes of the environment's objects
}

func (p *player) number() int64 {
	if m := regexp.MustCompile(`(?m)^holds (\d+)$`).FindStringSubmatch(p.said.String()); m != nil {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		return n
	}
	return 0
}

func (p *player) says(line string) bool { return strings.Contains("\n"+p.said.String(), "\n"+line) }

// round is two players and what became of them.
type round struct {
	t       *testing.T
	gateway *buckettest.Server
	game
	players []*player
}

func (r *round) start(release string, judge func(p *player, request int) buckettest.Trouble) *player {
	r.t.Helper()
	p := &player{game: r.game, line: r.gateway.Line(r.t)}
	p.Release, p.Machine, p.Endpoint = release, filepath.Join(r.t.TempDir(), "machine"), p.line.Endpoint
	p.line.Do(func(*http.Request) buckettest.Trouble {
		p.mu.Lock()
		p.requests++
		n := p.requests
		p.mu.Unlock()
		return judge(p, n)
	})
	p.line.See(func(q buckettest.Request) {
		if q.Method == http.MethodPut && q.Status < 300 && strings.Contains(q.Path, "/lab/") {
			p.mu.Lock()
			p.written = append(p.written, q)
			p.mu.Unlock()
		}
	})
	text, err := json.Marshal(p.game)
	if err != nil {
		r.t.Fatal(err)
	}
	p.cmd = exec.CommandContext(r.t.Context(), os.Args[0])
	p.cmd.Env = append(os.Environ(), gameVariable+"="+string(text))
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.players = append(r.players, p)
	return p
}

func calm(*player, int) buckettest.Trouble { return buckettest.Trouble{} }

// TestRounds kills one of two processes, cuts it from the store, or lets the store refuse it, at a random request. ROUNDS and SEED change how many
// and which.
func TestRounds(t *testing.T) {
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("ROUNDS"), "8"))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("SEED=%d ROUNDS=%d", seed, rounds)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range buckettest.Environ() {
		t.Setenv(k, v)
	}
	gateway := buckettest.Gateway(t)
	slots := make(chan struct{}, 6)
	var mu sync.Mutex
	met := map[string]int{}
	t.Run("all", func(t *testing.T) {
		for n := range rounds {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				r := &round{t: t, gateway: gateway, game: game{S3Options: gateway.Options, Hosts: t.TempDir(), Identity: identity.String(), Recipient: identity.Recipient().String()}}
				r.Prefix = fmt.Sprintf("round-%d", n)
				what := r.play(rand.New(rand.NewPCG(seed, uint64(n))))
				mu.Lock()
				met[what]++
				mu.Unlock()
			})
		}
	})
	t.Logf("met: %v", met)
}

// play plays a round and returns what happened in it.
func (r *round) play(random *rand.Rand) (what string) {
	r.t.Helper()
	at, kind, lands := 1+random.IntN(45), []string{"killed", "cut", "refused"}[random.IntN(3)], random.IntN(2) == 0
	var once sync.Once
	hit := func(p *player, n int) buckettest.Trouble {
		if n < at {
			return buckettest.Trouble{}
		}
		once.Do(func() { what = kind })
		switch kind {
		case "cut":
			return buckettest.Trouble{Cut: true}
		case "refused": // for this one alone, which cannot know that
			return buckettest.Trouble{Status: http.StatusServiceUnavailable}
		}
		_ = p.cmd.Process.Kill()
		return buckettest.Trouble{Cut: !lands || n > at} // its last words may still arrive
	}
	judges := []func(*player, int) buckettest.Trouble{calm, hit}
	if random.IntN(2) == 0 {
		judges[0], judges[1] = hit, calm
	}
	what = "nothing"
	one, two := r.start("one", judges[0]), r.start("two", judges[1])
	_ = one.cmd.Wait() // what it says counts
	_ = two.cmd.Wait()
	r.took(one, two)
	r.took(two, one)
	last := one
	if two.number() > one.number() {
		last = two
	}
	for i := 0; !last.says("released\n"); i++ { // nobody has finished: whoever comes next does
		if i == 5 {
			r.fail("nobody gets done")
		}
		held, _, err := r.holder()
		if err != nil {
			r.t.Fatal(err)
		}
		last = r.start(fmt.Sprintf("next-%d", i), calm)
		_ = last.cmd.Wait()
		if held != nil && last.number() > 0 && !last.says("environment lab: taking the place of run "+string(held.Run)) {
			r.fail("the next one does not say whose place it took: %s", held)
		}
		what += ", healed by the next"
	}
	r.ended(last)
	return what
}

// took checks what one player says of the other one, whose place it took, and that this one has written nothing since.
func (r *round) took(p, other *player) {
	r.t.Helper()
	if p.number() <= other.number() || other.number() == 0 {
		return
	}
	if !other.says("releases\n") && !p.says("environment lab: taking the place of ") {
		r.fail("%s does not say that it took the place of %s", p.Release, other.Release)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	other.mu.Lock()
	defer other.mu.Unlock()
	for _, claim := range p.written {
		if !strings.HasSuffix(claim.Path, "vault.age") {
			continue
		}
		for _, late := range other.written {
			if late.Arrived.After(claim.Answered) {
				r.fail("%s has written %s after %s took its place", other.Release, late.Path, p.Release)
			}
		}
		return // the first write of a new holder is what counts
	}
}

func (r *round) holder() (*core.Holder, int64, error) {
	g := r.game
	g.Machine = r.t.TempDir()
	f, err := g.open(r.t.Context(), nil)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	l, err := f.LeaseOn(r.t.Context(), "lab")
	return l.Holder, l.Fence, err
}

// ended checks hosts, document and record after the last player.
func (r *round) ended(last *player) {
	r.t.Helper()
	for i := range hostsOfGame {
		b, err := os.ReadFile(filepath.Join(r.Hosts, strconv.Itoa(i)))
		var s served
		if err == nil {
			err = json.Unmarshal(b, &s)
		}
		if err != nil || s.Release != last.Release || s.Fence != last.number() {
			r.fail("host %d serves %+v, %v; the last holder was %s with number %d", i, s, err, last.Release, last.number())
		}
	}
	r.recorded(last)
}

func (r *round) recorded(last *player) {
	r.t.Helper()
	g := r.game
	g.Machine = r.t.TempDir()
	f, err := g.open(r.t.Context(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	v := &vault.Vault{Objects: f.Objects(), Environment: "lab", Team: g.pipeline().Team, Identities: g.identities()}
	d, _, err := v.Load(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if got := string(d.Files["hosts.json"].Data); got != last.Release+" everywhere" || d.Fence < last.number() { // another one may have died before its first word
		r.fail("the vault says %q with number %d", got, d.Fence)
	}
	m := regexp.MustCompile(`(?m)^run (\S+)$`).FindStringSubmatch(last.said.String())
	run, err := f.Find(r.t.Context(), m[1])
	if err == nil {
		err = f.Verify(r.t.Context(), run.ID)
	}
	if err != nil || last.says("recorded\n") && run.Status != core.Passed {
		r.fail("the run of %s is %s, %v", last.Release, run.Status, err)
	}
}

func (r *round) fail(format string, args ...any) {
	r.t.Helper()
	for _, p := range r.players {
		format += "\n--- %s after %d requests:\n%s"
		args = append(args, p.Release, p.requests, p.said.String())
	}
	r.t.Fatalf(format, args...)
}
