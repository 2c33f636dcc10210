//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

// workersManifest is of a pipeline without hosts: a stage that has passed soon, and one that takes its time.
const workersManifest = `pipeline "shop" {
  source { path = "." }
  runs_on = ["linux"]
  store "s3" {
    bucket     = "BUCKET"
    region     = "REGION"
    endpoint   = env.S3_ENDPOINT
    path_style = true
  }
  team { keys_from = "team.keys" }
}

environment "a" {}
environment "b" {}
environment "c" {}
environment "d" {}

stage "build" "soon" {
  command = ["true"]
}

stage "build" "late" {
  command = ["sleep", "2"]
}
`

// machine is one that a worker is on, with lines to the store and to the queue of its own.
type machine struct {
	world
	name   string
	data   string
	remote string
	store  *buckettest.Line
	queue  *wire
	worker *exec.Cmd
}

// wire passes connections on to a server, until it is cut.
type wire struct {
	net.Listener
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		w.Cut(true)
		_ = l.Close()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.pass(c, to)
		}
	}()
	return w
}

func (w *wire) pass(c net.Conn, to string) {
	server, err := net.Dial("tcp", to)
	w.mu.Lock()
	if err != nil || w.cut {
		w.mu.Unlock()
		_ = c.Close()
		return
	}
	w.conns[c], w.conns[server] = true, true
	w.mu.Unlock()
	go func() {
		_, _ = io.Copy(server, c)
		_ = server.Close()
	}()
	_, _ = io.Copy(c, server)
	_ = c.Close()
}

// Cut ends all connections and refuses others, or lets them through again.
func (w *wire) Cut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for c := range w.conns {
		_ = c.Close()
		delete(w.conns, c)
	}
}

// fleet is a server with its queue and store, and the machines of its workers.
type fleet struct {
	w        *world
	remote   string
	at       string
	cookies  string
	machines []*machine
}

// newFleet starts a server of a pipeline in a bare repository, which people reach with curl, and n workers.
func newFleet(t testing.TB, n int) *fleet {
	t.Helper()
	gateway, redis := buckettest.Gateway(t), redistest.Start(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	homes := t.TempDir()
	env, key := person(t, homes, "server")
	w := &world{bin: filepath.Join(root, "bin"), dir: t.TempDir(), env: append(env, "TROOP_QUEUE_URL="+redis.URL(), "S3_ENDPOINT="+gateway.Endpoint)}
	w.manifest = filepath.Join(w.dir, "pipeline.hcl")
	w.write(t, "pipeline.hcl", strings.NewReplacer("BUCKET", gateway.Bucket, "REGION", gateway.Region).Replace(workersManifest))
	f := &fleet{w: w, remote: filepath.Join(t.TempDir(), "shop.git"), cookies: filepath.Join(t.TempDir(), "cookies")}
	var envs [][]string
	for i := range n {
		e, k := person(t, homes, fmt.Sprintf("w%d", i+1))
		envs = append(envs, e)
		key += k
	}
	w.write(t, "team.keys", key)
	sh(t, w.dir, "git init -q -b main && git config user.name test && git config user.email test@localhost")
	w.commit(t, "The shop")
	sh(t, w.dir, "git clone -q --bare . "+f.remote+" && git remote add origin "+f.remote)
	for i, e := range envs {
		m := &machine{
			world: world{bin: w.bin, dir: t.TempDir()}, name: fmt.Sprintf("w%d", i+1), data: t.TempDir(), remote: f.remote,
			store: gateway.Line(t), queue: newWire(t, redis.Addr),
		}
		m.env = append(e, "TROOP_QUEUE_URL=redis://:"+redistest.Password+"@"+m.queue.Addr().String(), "S3_ENDPOINT="+m.store.Endpoint)
		m.start(t)
		t.Cleanup(func() { m.kill(t) })
		f.machines = append(f.machines, m)
	}
	var link string
	_, f.at, link = w.startServer(t, f.remote, t.TempDir(), false)
	f.curl(t, "-d 'password=correct horse battery&again=correct horse battery' "+link)
	return f
}

func (f *fleet) curl(t testing.TB, arguments string) string {
	t.Helper()
	return sh(t, "/", "curl -sSf -b "+f.cookies+" -c "+f.cookies+" "+arguments)
}

// start starts the machine's worker.
func (m *machine) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(m.dir, "worker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	m.worker = exec.Command(filepath.Join(m.bin, "troop"), "worker", m.remote, "--name", m.name, "--data", m.data)
	m.worker.Dir, m.worker.Env, m.worker.Stderr = m.dir, append(environ(), m.env...), log
	if err := m.worker.Start(); err != nil {
		t.Fatal(err)
	}
}

// processes are the worker and the runs of the machine: each has its folder among its arguments.
func (m *machine) processes(t testing.TB) (pids []int) {
	t.Helper()
	for line := range strings.FieldsSeq(sh(t, "/", "pgrep -f -- "+m.data+" || true")) {
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		if name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && filepath.Dir(name) == m.bin {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill ends all processes of the machine at once, as a loss of power does.
func (m *machine) kill(t testing.TB) {
	t.Helper()
	for pids := m.processes(t); len(pids) > 0; pids = m.processes(t) {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if m.worker != nil {
			_ = m.worker.Wait()
			m.worker = nil
		}
	}
}

// commits makes n new commits and returns them.
func (f *fleet) commits(t testing.TB, n int) []string {
	t.Helper()
	return strings.Fields(sh(t, f.w.dir, fmt.Sprintf("for i in $(seq %d); do git commit -q --allow-empty -m \"Commit $i\"; git rev-parse HEAD; done; git push -q origin main", n)))
}

// request asks the server for a run of a commit in an environment.
func (f *fleet) request(t testing.TB, commit, environment string) {
	t.Helper()
	f.curl(t, fmt.Sprintf("-o /dev/null -d 'commit=%s&branch=main&environment=%s' %s/p/shop/run", commit, environment, f.at))
}

// waiting is how many jobs are in the server's queue.
func (f *fleet) waiting(t testing.TB) []job {
	t.Helper()
	var jobs []job
	if err := json.Unmarshal([]byte(f.curl(t, f.at+"/api/v1/queue")), &jobs); err != nil {
		t.Fatal(err)
	}
	return jobs
}

// job is of the API.
type job struct {
	Run     core.RunOptions `json:"run"`
	Worker  string          `json:"worker"`
	Started time.Time       `json:"started"`
}

// runs are those that the store has, the oldest first.
func (f *fleet) runs(t testing.TB) []core.Run {
	t.Helper()
	var runs []core.Run
	if err := json.Unmarshal([]byte(f.w.results(t, "runs", f.w.manifest, "--limit", "1000", "--json")), &runs); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(runs, func(a, b core.Run) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return runs
}

// empty waits until nothing is in the queue, and does something again and again meanwhile.
func (f *fleet) empty(t testing.TB, meanwhile func()) time.Duration {
	t.Helper()
	return eventually(t, 30*time.Minute, "the queue is empty", func() bool {
		if meanwhile != nil {
			meanwhile()
		}
		return len(f.waiting(t)) == 0
	})
}

// once tests that of n requests each has ended in one run that passed, all others were interrupted, and no environment ever
// had two runs at a time.
func (f *fleet) once(t testing.TB, n int) (interrupted, reused int) {
	t.Helper()
	passed, ends := map[string]int{}, map[string]time.Time{}
	for _, r := range f.runs(t) {
		if r.Started.Before(ends[r.Environment]) {
			t.Errorf("run %s begins in %s before the one before it has ended", r.ID, r.Environment)
		}
		ends[r.Environment] = r.Ended
		switch {
		case r.Status == core.Passed:
			passed[r.Commit]++
			if slices.ContainsFunc(r.Stages, func(s core.StageResult) bool { return s.Reused != "" }) {
				reused++
			}
		case r.Status == core.Cancelled && strings.Contains(r.Reason, "worker"):
			interrupted++
		default:
			t.Errorf("run %s: %s, %s", r.ID, r.Status, r.Reason)
		}
	}
	if len(passed) != n {
		t.Errorf("%d of %d requests passed", len(passed), n)
	}
	for commit, times := range passed {
		if times != 1 {
			t.Errorf("commit %.9s passed %d times", commit, times)
		}
	}
	if out, code := f.w.troop(t, "verify", f.w.manifest); code != 0 {
		t.Errorf("verify: %s", out)
	}
	return interrupted, reused
}

// several is a number that a variable may set.
func several(t testing.TB, variable string, n int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
	}
	return n
}

// carry asks for n runs and waits for their end, while one machine after the other loses its power, pause apart; 0: none does.
func (f *fleet) carry(t testing.TB, n int, pause time.Duration, random *rand.Rand) (took time.Duration, kills int) {
	t.Helper()
	next := time.Now().Add(pause / 2)
	kill := func() {
		m := f.machines[random.IntN(len(f.machines))]
		if pause == 0 || time.Now().Before(next) || len(m.processes(t)) < 2 { // it does nothing
			return
		}
		next = time.Now().Add(pause)
		m.kill(t)
		m.start(t)
		kills++
	}
	commits := f.commits(t, n)
	start := time.Now()
	for i, commit := range commits {
		f.request(t, commit, string("abcd"[i%4]))
		kill()
	}
	f.empty(t, kill)
	return time.Since(start), kills
}

// TestWorkers takes runs to four machines, of which one after the other loses its power; TROOP_WORKER_RUNS says how many.
func TestWorkers(t *testing.T) {
	n := several(t, "TROOP_WORKER_RUNS", 24)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	f := newFleet(t, 4)
	took, kills := f.carry(t, n, 10*time.Second, rand.New(rand.NewPCG(seed, 0)))
	interrupted, reused := f.once(t, n)
	t.Logf("%d runs in %.1f s with %d kills: %d interrupted, %d went on from a stage that had passed", n, took.Seconds(), kills, interrupted, reused)
	if kills == 0 || interrupted == 0 || interrupted > kills {
		t.Errorf("%d interrupted by %d kills", interrupted, kills)
	}
}

// BenchmarkWorkers takes 100 runs to four machines, with and without a loss of power every 10 s. Budget: x/calm at most 1.3.
func BenchmarkWorkers(b *testing.B) {
	n := several(b, "TROOP_WORKER_RUNS", 100)
	f := newFleet(b, 4)
	random := rand.New(rand.NewPCG(1, 0))
	f.carry(b, 4, 0, random) // warms the caches
	var calm, killed time.Duration
	kills := 0
	for b.Loop() {
		took, _ := f.carry(b, n, 0, random)
		calm += took
		took, some := f.carry(b, n, 10*time.Second, random)
		killed, kills = killed+took, kills+some
	}
	b.ReportMetric(calm.Seconds()/float64(b.N), "calm-s")
	b.ReportMetric(killed.Seconds()/float64(b.N), "killed-s")
	b.ReportMetric(float64(kills)/float64(b.N), "kills")
	b.ReportMetric(killed.Seconds()/calm.Seconds(), "x/calm")
}

// TestCutOffWorker cuts a machine from store and queue in the middle of a run: the run is begun again elsewhere, and what the
// machine tries to write when its lines are back is refused.
func TestCutOffWorker(t *testing.T) {
	f := newFleet(t, 1)
	alone := f.machines[0]
	f.w.replace(t, "pipeline.hcl", `["sleep", "2"]`, `["sh", "-c", "for i in $(seq 600); do echo $i; test -e `+f.w.dir+`/go && break; sleep 0.2; done"]`)
	f.w.commit(t, "A long build")
	f.request(t, f.commits(t, 1)[0], "a")
	var first core.Run
	eventually(t, 5*time.Minute, "the run goes on", func() bool {
		runs := f.runs(t)
		if len(runs) != 1 || runs[0].Status != core.Running {
			return false
		}
		first = runs[0]
		return slices.ContainsFunc(first.Stages, func(s core.StageResult) bool { return s.ID == "build.soon" && s.Status == core.Passed })
	})
	alone.store.Do(func(*http.Request) buckettest.Trouble { return buckettest.Trouble{Cut: true} })
	alone.queue.Cut(true)
	eventually(t, 5*time.Minute, "the run is known to be lost", func() bool {
		runs := f.runs(t)
		return runs[0].Status == core.Cancelled && strings.Contains(runs[0].Reason, "worker w1 was not heard of")
	})
	before := f.w.results(t, "show", f.w.manifest, string(first.ID), "--json")
	alone.store.Do(nil)
	alone.queue.Cut(false)
	f.w.write(t, "go", "")
	took := f.empty(t, nil) // the same machine takes it again
	t.Logf("begun again and passed after %.1f s", took.Seconds())
	eventually(t, 5*time.Minute, "the first run's process has ended", func() bool { return len(alone.processes(t)) == 1 })
	if after := f.w.results(t, "show", f.w.manifest, string(first.ID), "--json"); after != before {
		t.Errorf("the lost run has changed:\n%s\n%s", before, after)
	}
	if interrupted, reused := f.once(t, 1); interrupted != 1 || reused != 1 {
		t.Errorf("%d interrupted, %d went on from a stage that had passed", interrupted, reused)
	}
}
