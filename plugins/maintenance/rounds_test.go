package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage/storagetest"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

// TestMain runs the other processes of TestKilledRounds.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("MAINTENANCE_TEST") {
	case "agent":
		err = roundsAgent(os.Getenv("MAINTENANCE_HOST"))
	case "writer":
		err = roundsWriter(os.Getenv("MAINTENANCE_HOST"))
	default:
		m.Run()
	}
	if err != nil {
		panic(err)
	}
}

const (
	roundsShort  = 16 // without TROOP_ROUNDS
	roundsWorld  = 50 // rounds until a world is healed and counted
	hostBytes    = 24 << 20
	storageBytes = 64 << 20
	hostAbove    = 32 << 10 // from when on a log is moved
)

// roundsFiles are the logs of a world, by how their writer closes them.
var roundsFiles = map[string]string{"renamed.log": "rename", "cut.log": "copytruncate"}

// TestKilledRounds kills the agent's process with SIGKILL at random moments, while a writer writes numbered lines to two logs,
// and the storage host or S3 server stops, is parted from the host, shows a wrong key or refuses the host's, cuts connections,
// has no time (503), is full or damages what it gets or gives; the host's disk is full, its clock jumps, and bytes flip in the journal and in objects that have no receipt yet. In
// the end every line is there once: in a log, or in a backup with a receipt, each of which can be read back.
// TROOP_ROUNDS and TROOP_ROUNDS_SEED choose the rounds of each storage.
func TestKilledRounds(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test mounts file systems that can be full: run it as root")
	}
	number := func(name string, otherwise int) int {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return n
		}
		return otherwise
	}
	rounds, seed := number("TROOP_ROUNDS", roundsShort), number("TROOP_ROUNDS_SEED", int(time.Now().Unix()))
	t.Logf("TROOP_ROUNDS_SEED=%d", seed)
	for name, start := range map[string]func(*world){"sftp": (*world).startSFTP, "s3": (*world).startS3} {
		t.Run(name, func(t *testing.T) { killedRounds(t, rounds, seed, start) })
	}
}

func killedRounds(t *testing.T, rounds, seed int, start func(*world)) {
	t.Helper()
	var total tally
	for first := 0; first < rounds; first += roundsWorld {
		n := min(roundsWorld, rounds-first)
		ok := t.Run(fmt.Sprint(first), func(t *testing.T) {
			w := newWorld(t, rand.New(rand.NewPCG(uint64(seed), uint64(first))), start)
			for range n {
				w.round()
			}
			total.add(w.count())
		})
		if !ok {
			break
		}
	}
	t.Logf("%d rounds: %d lines, %d lost, %d twice, %d of removed files without a receipt; %d receipts, %d not restorable; faults %v",
		rounds, total.lines, total.lost, total.twice, total.bare, total.receipts, total.bad, total.faults)
}

type tally struct {
	lines, lost, twice, bare, receipts, bad int
	faults                                  map[string]int
}

func (a *tally) add(b tally) {
	a.lines, a.lost, a.twice, a.bare = a.lines+b.lines, a.lost+b.lost, a.twice+b.twice, a.bare+b.bare
	a.receipts, a.bad = a.receipts+b.receipts, a.bad+b.bad
	if a.faults == nil {
		a.faults = map[string]int{}
	}
	for name, n := range b.faults {
		a.faults[name] += n
	}
}

// world is a host and a storage host or S3 server, each with a small file system, and a writer.
type world struct {
	t        *testing.T
	rand     *rand.Rand
	dir      string // the host's
	stored   string // its file system
	folder   string // of the objects in it
	target   roundsTarget
	troubles []fault // of the storage
	writer   *exec.Cmd
	stdin    io.Closer
	written  *bytes.Buffer
	faults   map[string]int
	jump     time.Duration
	complain *bytes.Buffer // what the writer said is wrong
}

// roundsTarget says where files are moved to: one of the two.
type roundsTarget struct {
	SFTP *storage.Target
	S3   *storage.Objects
}

func (r roundsTarget) dial(ctx context.Context) (remoteStore, error) {
	if r.S3 != nil {
		return storage.OpenS3(ctx, *r.S3)
	}
	return storage.Connect(ctx, *r.SFTP)
}

func (w *world) startSFTP() {
	w.folder = filepath.Join(w.stored, "files")
	if err := os.Mkdir(w.folder, 0o755); err != nil {
		w.t.Fatal(err)
	}
	server := storagetest.New(w.t, w.folder)
	w.target.SFTP = &server.Target
	w.troubles = []fault{
		{"storage stopped", during(server.Stopped.Store)},
		{"partition", during(server.Parted.Store)},
		{"wrong host key", during(server.Forged.Store)},
		{"damaged on the way", during(server.Damaging.Store)},
		{"connection cut", func(w *world) func() {
			server.Cut.Store(2000 + w.rand.Int64N(20000))
			return func() { server.Cut.Store(0) }
		}},
	}
}

func (w *world) startS3() {
	const name = "backups"
	g := buckettest.GatewayIn(w.t, w.stored)
	g.MakeBucket(w.t, name, true)
	line := g.Line(w.t)
	o := storage.Objects{Options: g.Options, Host: "web-1", KeyID: buckettest.AccessKey, Secret: buckettest.SecretKey, Lock: bucket.Lock{Mode: "COMPLIANCE", For: 24 * time.Hour}}
	o.Bucket, o.Prefix, o.Endpoint = name, "lab/web-1", line.Endpoint
	w.target.S3, w.folder = &o, filepath.Join(w.stored, name, o.Prefix)
	trouble := func(name string, judge func(r *http.Request) buckettest.Trouble) fault {
		return fault{name, func(*world) func() {
			line.Do(judge)
			return func() { line.Do(nil) }
		}}
	}
	always := func(name string, x buckettest.Trouble) fault {
		return trouble(name, func(*http.Request) buckettest.Trouble { return x })
	}
	var requests atomic.Int32
	w.troubles = []fault{
		always("server stopped", buckettest.Trouble{Cut: true}),
		always("partition", buckettest.Trouble{Wait: time.Hour}),
		always("credentials refused", buckettest.Trouble{Status: http.StatusForbidden}),
		always("503", buckettest.Trouble{Status: http.StatusServiceUnavailable}),
		trouble("503 and cuts now and then", func(*http.Request) buckettest.Trouble {
			switch requests.Add(1) % 5 {
			case 0:
				return buckettest.Trouble{Cut: true}
			case 3:
				return buckettest.Trouble{Status: http.StatusServiceUnavailable}
			}
			return buckettest.Trouble{}
		}),
		trouble("damaged on the way", func(r *http.Request) buckettest.Trouble {
			return buckettest.Trouble{FlipSent: r.Method == http.MethodPut}
		}),
		trouble("damaged on the way back", func(r *http.Request) buckettest.Trouble {
			return buckettest.Trouble{Flip: r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".zst")}
		}),
	}
}

func newWorld(t *testing.T, r *rand.Rand, start func(*world)) *world {
	t.Helper()
	w := &world{t: t, rand: r, dir: t.TempDir(), stored: t.TempDir(), written: &bytes.Buffer{}, faults: map[string]int{}, complain: &bytes.Buffer{}}
	for dir, size := range map[string]int{w.dir: hostBytes, w.stored: storageBytes} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	if err := os.Mkdir(filepath.Join(w.dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	start(w)
	target, err := json.Marshal(w.target)
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "target.json"), target, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.writer = w.process("writer")
	w.writer.Stdout, w.writer.Stderr = w.written, w.complain
	if w.stdin, err = w.writer.StdinPipe(); err == nil {
		err = w.writer.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.writer.Process.Kill(); _ = w.writer.Wait() })
	return w
}

// process is this test's program as another process.
func (w *world) process(role string) *exec.Cmd {
	c := exec.CommandContext(w.t.Context(), "/proc/self/exe")
	c.Env = append(os.Environ(), "MAINTENANCE_TEST="+role, "MAINTENANCE_HOST="+w.dir, "MAINTENANCE_JUMP="+w.jump.String())
	return c
}

// fault is something that is wrong during a round. repair ends it; it may be nil.
type fault struct {
	name  string
	begin func(w *world) (repair func())
}

func during(set func(on bool)) func(*world) func() {
	return func(*world) func() {
		set(true)
		return func() { set(false) }
	}
}

// hostFaults are those that have nothing to do with the kind of storage.
var hostFaults = []fault{
	{"none", func(*world) func() { return func() {} }},
	{"host's disk full", func(w *world) func() { return w.fill(w.dir) }},
	{"storage's disk full", func(w *world) func() { return w.fill(w.stored) }},
	{"clock jumps", func(w *world) func() {
		w.jump = time.Duration(w.rand.IntN(96)-48) * time.Hour
		return func() { w.jump = 0 }
	}},
	{"flip in the journal", func(w *world) func() { w.flip(filepath.Join(w.dir, "state", "journal.jsonl")); return func() {} }},
	{"flip in an object", func(w *world) func() { w.flipObject(); return func() {} }},
}

// fill fills a file system to its last bytes.
func (w *world) fill(dir string) func() {
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		return func() {}
	}
	for chunk := int64(1 << 20); chunk >= 4096; chunk /= 4 {
		for at, err := f.Seek(0, io.SeekEnd); err == nil; at += chunk {
			if err = unix.Fallocate(int(f.Fd()), 0, at, chunk); err != nil {
				break
			}
		}
	}
	_ = f.Close()
	return func() { _ = os.Remove(name) }
}

func (w *world) flip(name string) {
	b, err := os.ReadFile(name)
	if err != nil || len(b) == 0 {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	at := w.rand.IntN(len(b))
	if _, err := f.WriteAt([]byte{b[at] ^ byte(1<<w.rand.IntN(8))}, int64(at)); err != nil {
		w.t.Error(err)
	}
	_ = f.Close()
}

// flipObject flips a bit of an object that no receipt vouches for yet.
func (w *world) flipObject() {
	names := w.objects()
	for _, i := range w.rand.Perm(len(names)) {
		if !slices.ContainsFunc(names, func(n string) bool {
			return strings.HasPrefix(n, names[i]+".") && strings.HasSuffix(n, storage.ReceiptSuffix)
		}) &&
			!strings.HasSuffix(names[i], storage.ReceiptSuffix) {
			w.flip(filepath.Join(w.folder, names[i]))
			return
		}
	}
}

func (w *world) objects() []string {
	entries, err := os.ReadDir(w.folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a bucket has no folder before its first object
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// round starts an agent among one or two faults and kills it.
func (w *world) round() {
	var repairs []func()
	faults := slices.Concat(hostFaults, w.troubles)
	for range 1 + w.rand.IntN(2) {
		f := faults[w.rand.IntN(len(faults))]
		w.faults[f.name]++
		repairs = append(repairs, f.begin(w))
	}
	c := w.process("agent")
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(time.Duration(20+w.rand.IntN(500)) * time.Millisecond)
	_ = c.Process.Kill()
	_ = c.Wait()
	for _, repair := range repairs {
		repair()
	}
}

// numbered is a line of the writer. What a full disk has torn is none.
var numbered = regexp.MustCompile(`(\d{9}):[x]{60};`)

func line(n int) string { return fmt.Sprintf("%09d:%s;\n", n, strings.Repeat("x", 60)) }

// count ends the writer, moves all that is left, and counts the lines.
func (w *world) count() tally {
	w.t.Helper()
	_ = w.stdin.Close()
	if err := w.writer.Wait(); err != nil {
		w.t.Fatalf("writer: %v: %s", err, w.complain)
	}
	counts := map[string]int{}
	if err := json.Unmarshal(w.written.Bytes(), &counts); err != nil {
		w.t.Fatal(err)
	}
	a, err := newRoundsAgent(w.dir, 72*time.Hour, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	defer a.Close()
	left := 0
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		a.Tick(w.t.Context())
		if left = w.waiting(); left == 0 {
			break
		}
	}
	if left > 0 {
		w.t.Errorf("%d files cannot be moved: %+v", left, a.report())
	}
	got := tally{faults: w.faults}
	seen := map[string]map[int]int{}
	for name := range roundsFiles {
		seen[name] = map[int]int{}
	}
	s, err := w.target.dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	vouched := map[string]bool{}
	for _, r := range a.journal.Receipts() {
		var b bytes.Buffer
		got.receipts++
		vouched[string(r.Remote)] = true
		if err := storage.Fetch(s, r.Object, &b); err != nil {
			w.t.Errorf("receipt %s of %s: %v", r.ID, r.Path, err)
			got.bad++
			continue
		}
		for _, m := range numbered.FindAllSubmatch(b.Bytes(), -1) {
			n, _ := strconv.Atoi(string(m[1])) // nine digits
			seen[filepath.Base(string(r.Path))][n]++
		}
	}
	for name, n := range counts {
		got.lines += n
		var lost, twice []int
		for i := range n {
			switch k := seen[name][i]; {
			case k == 0:
				lost = append(lost, i)
			case k > 1:
				twice = append(twice, i)
			}
		}
		got.lost, got.twice = got.lost+len(lost), got.twice+len(twice)
		if len(lost)+len(twice) > 0 {
			bare := w.inBareObjects(lost, vouched)
			got.bare += bare
			w.t.Errorf("%s: of %d lines %d lost (%d of them in objects without a receipt), %d twice: %v %v",
				name, n, len(lost), bare, len(twice), lost[:min(len(lost), 3)], twice[:min(len(twice), 3)])
			w.t.Logf("receipts of %v; on the storage host %v", slices.Sorted(maps.Keys(vouched)), w.objects())
		}
	}
	return got
}

// inBareObjects counts the lines that are in objects without a receipt: their file was removed without one.
func (w *world) inBareObjects(lost []int, vouched map[string]bool) (n int) {
	var all bytes.Buffer
	for _, name := range w.objects() {
		if vouched[name] || strings.HasSuffix(name, storage.ReceiptSuffix) {
			continue
		}
		if text, err := exec.CommandContext(w.t.Context(), "zstd", "-dcq", filepath.Join(w.folder, name)).Output(); err == nil || len(text) > 0 {
			all.Write(text)
		}
	}
	for _, i := range lost {
		if bytes.Contains(all.Bytes(), []byte(line(i))) {
			n++
		}
	}
	return n
}

// waiting counts the files on the host that have content.
func (w *world) waiting() (n int) {
	entries, err := os.ReadDir(filepath.Join(w.dir, "logs"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if st, err := e.Info(); err == nil && st.Size() > 0 {
			n++
		}
	}
	return n
}

// newRoundsAgent is the agent of a world's host, whose clock is wrong by jump.
func newRoundsAgent(dir string, jump time.Duration, above int64) (*agent, error) {
	var target roundsTarget
	text, err := os.ReadFile(filepath.Join(dir, "target.json"))
	if err == nil {
		err = json.Unmarshal(text, &target)
	}
	if err != nil {
		return nil, err
	}
	logs := filepath.Join(dir, "logs")
	c := config{Compress: "zstd", Interval: sdk.Duration(time.Second)}
	for name, reopen := range roundsFiles {
		c.Rules = append(c.Rules, rule.Rule{Name: strings.TrimSuffix(name, ".log"), Paths: []string{filepath.Join(logs, name)}, Above: sdk.Size(above), Reopen: reopen})
	}
	info := sdk.RunInfo{Environment: "lab", Host: "web-1", Stage: "maintenance.logs", StateDir: filepath.Join(dir, "state")}
	quiet := func(string, ...any) {}
	a, err := newAgent(c.withDefaults(), info, rule.Places{Secondary: []string{logs}}, func(sdk.Event) error { return nil }, quiet)
	if err != nil {
		return nil, err
	}
	a.now = func() time.Time { return time.Now().Add(jump) }
	a.dial = target.dial
	a.start()
	return a, nil
}

// roundsAgent runs until it is killed.
func roundsAgent(dir string) error {
	jump, err := time.ParseDuration(os.Getenv("MAINTENANCE_JUMP"))
	if err != nil {
		return err
	}
	a, err := newRoundsAgent(dir, jump, hostAbove)
	for ; errors.Is(err, unix.ENOSPC); a, err = newRoundsAgent(dir, jump, hostAbove) { // systemd starts it again
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	for ; ; time.Sleep(5 * time.Millisecond) {
		a.Tick(context.Background())
	}
}

// roundsWriter writes lines to the logs until its input ends, and says how many lines each has whole.
func roundsWriter(dir string) error {
	ended := make(chan struct{})
	go func() { _, _ = bufio.NewReader(os.Stdin).ReadByte(); close(ended) }()
	files, counts := map[string]*os.File{}, map[string]int{}
	for {
		select {
		case <-ended:
			return json.NewEncoder(os.Stdout).Encode(counts)
		case <-time.After(5 * time.Millisecond):
		}
		for name := range roundsFiles {
			f, err := reopened(files[name], filepath.Join(dir, "logs", name))
			files[name] = f
			for range 20 {
				if err != nil {
					break
				}
				if _, err = f.WriteString(line(counts[name])); err == nil {
					counts[name]++
				}
			}
			if err != nil && !errors.Is(err, unix.ENOSPC) {
				return err
			}
		}
	}
}

// reopened is the file of that name, also after it was renamed.
func reopened(f *os.File, name string) (*os.File, error) {
	if f != nil {
		here, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if there, err := os.Stat(name); err == nil && os.SameFile(here, there) {
			return f, nil
		}
		_ = f.Close() // every line was written
	}
	return os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
}
