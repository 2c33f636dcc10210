package rule

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

func TestCheckPattern(t *testing.T) {
	for pattern, want := range map[string]string{ // "" is allowed, else a part of the error
		"/var/log/storefront/*.log":       "",
		"/var/log/storefront/app.log":     "",
		"/var/log/**/*.log.*":             "",
		"/var/log/nginx/{access,error}.*": "",
		"/var/crash/*":                    "",
		"/var/dumps/nightly/*.tar.gz":     "",
		"/data/shop/logs/*.log":           "",
		"/data/shop/logs/*.log.[0-9]*.gz": "",
		"/mnt/dumps/heap-*.hprof":         "",

		"app.log":                        "absolute",
		"/var/log/../lib/x.log":          "without",
		"/var/log//x.log":                "without",
		"/var/log/[":                     "pattern",
		"/*":                             "could reach",
		"/**":                            "could reach",
		"/var/*/x.log":                   "could reach",
		"/var/{log,lib}/x":               "could reach",
		"/opt/storefront/*.log":          "the application's folder",
		"/opt/storefront/**":             "the application's folder",
		"/srv/app/log/x.log":             "the application's folder",
		"/home/ann/*.log":                "people's files",
		"/etc/*.log":                     "configuration",
		"/usr/lib/x.log":                 "more than logs",
		"/boot/x.log":                    "more than logs",
		"/lib/x.log":                     "more than logs",
		"/tmp/*.log":                     "more than logs",
		"/var/log.d/x.log":               "more than logs",
		"/var/lib/redis/dump.rdb":        "databases",
		"/var/lib/redis/appendonlydir/*": "databases",
		"/var/lib/postgresql/15/main/**": "databases",
		"/var/lib/mysql/*":               "databases",
		"/var/log/redis/dump.rdb":        "or the system needs",
		"/var/log/app/{app.log,cart.db}": "or the system needs",
		"/var/log/app/*.sqlite3":         "or the system needs",
		"/var/log/app/*.db-wal":          "or the system needs",
		"/var/log/wtmp":                  "or the system needs",
		"/var/log/journal/**":            "belongs to the system",
		"/var/log/app/pg_wal/*":          "folder of a database",
		"/data/pg/base/5/*.log":          "folder of a database",
		"/data/shop/releases/a/out.log":  "folder of a database or an application",
		"/data/*":                        "names everything",
		"/data/*.log":                    "names everything",
		"/data/shop/*":                   "may be more than a log",
		"/data/shop/**":                  "may be more than a log",
		"/data/shop/orders.dat":          "may be more than a log",
		"/data/shop/dump.rdb":            "or the system needs",
	} {
		err := HostPlaces().checkPattern(pattern)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", pattern, err)
		case want != "" && err == nil:
			t.Errorf("%s: allowed, want an error about %q", pattern, want)
		case want != "" && !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want it to say %q", pattern, err, want)
		}
	}
}

// TestInspect puts files into a rule's folder that must not be moved, whatever the rule says.
func TestInspect(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "orders.log")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(content string) func(string) error {
		return func(p string) error { return os.WriteFile(p, []byte(content), 0o600) }
	}
	for name, test := range map[string]struct {
		file   string
		make   func(p string) error
		refuse string
	}{
		"a log":             {"app.log", write("GET /\n"), ""},
		"an empty log":      {"empty.log", write(""), ""},
		"a core dump":       {"core.1.log", write("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00more"), ""},
		"a symbolic link":   {"link.log", func(p string) error { return os.Symlink(outside, p) }, "symbolic link"},
		"a hard link":       {"hard.log", func(p string) error { return os.Link(outside, p) }, "hard links"},
		"a pipe":            {"pipe.log", func(p string) error { return unix.Mkfifo(p, 0o600) }, "not a regular file"},
		"SQLite":            {"s.log", write("SQLite format 3\x00rest"), "SQLite"},
		"SQLite's WAL":      {"w.log", write("\x37\x7f\x06\x82rest"), "SQLite"},
		"Redis dump":        {"r.log", write("REDIS0011\xfa"), "Redis"},
		"Redis append-only": {"a.log", write("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"), "Redis"},
		"a program":         {"p.log", write("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00more"), "program"},
		"MySQL binlog":      {"b.log", write("\xfebinxxxx"), "MySQL"},
		"by name":           {"dump.rdb", write("x"), "or the system needs"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.make(filepath.Join(root, test.file)); err != nil {
				t.Fatal(err)
			}
			d, err := file.OpenFolder(root, root)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			_, err = Places{Secondary: []string{root}}.Inspect(d, test.file)
			switch {
			case test.refuse == "" && err != nil:
				t.Error(err)
			case test.refuse != "" && (err == nil || !strings.Contains(err.Error(), test.refuse)):
				t.Errorf("got %v, want it refused for %q", err, test.refuse)
			}
			if _, err := (Places{Secondary: []string{"/elsewhere"}}).Inspect(d, test.file); err == nil {
				t.Error("accepted outside of the allowed folders")
			}
		})
	}
}

// TestMount mounts a folder and a file of an application into a rule's folder.
func TestMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test mounts: run it as root")
	}
	dir := t.TempDir()
	app, logs := filepath.Join(dir, "app"), filepath.Join(dir, "logs")
	sub := filepath.Join(logs, "sub")
	for _, d := range []string{app, sub} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{filepath.Join(app, "a.log"), filepath.Join(logs, "a.log"), filepath.Join(logs, "b.log")} {
		if err := os.WriteFile(f, []byte("GET /\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{app: sub, filepath.Join(app, "a.log"): filepath.Join(logs, "a.log")} {
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
	}
	l, err := List(Rule{Paths: []string{filepath.Join(logs, "**/*.log")}}, Places{Secondary: []string{logs}})
	if err != nil || len(l.Files) != 1 || l.Files[0].Path != filepath.Join(logs, "b.log") {
		t.Errorf("found %v, %v; want b.log only", l.Files, err)
	}
	if err := l.Refused[filepath.Join(logs, "a.log")]; err == nil || !strings.Contains(err.Error(), "another mount") {
		t.Errorf("a mounted file: %v", err)
	}
}

// TestLinkedFolder has symbolic links as the root of a rule and below it.
func TestLinkedFolder(t *testing.T) {
	dir := t.TempDir()
	app := filepath.Join(dir, "opt", "app")
	logs := filepath.Join(dir, "logs")
	for _, d := range []string{app, logs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(app, "a.log"), []byte("GET /\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{filepath.Join(dir, "link"), filepath.Join(logs, "sub")} {
		if err := os.Symlink(app, link); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := file.OpenFolder(filepath.Join(dir, "link"), filepath.Join(dir, "link")); err == nil {
		t.Error("a linked root was opened")
	}
	if _, err := file.OpenFolder(logs, filepath.Join(logs, "sub")); err == nil {
		t.Error("a linked folder was opened")
	}
	if _, err := file.OpenFolder(logs, app); err == nil {
		t.Error("a folder outside of the root was opened")
	}
	l, err := List(Rule{Paths: []string{filepath.Join(logs, "**/*.log")}}, Places{Secondary: []string{logs}})
	if err != nil || len(l.Files) != 0 {
		t.Errorf("found %v, %v", l.Files, err)
	}
}

func TestChoose(t *testing.T) {
	now := time.Now()
	file := func(name string, size int64, age time.Duration) Found {
		return Found{Path: name, ID: file.ID{Size: size, MTime: now.Add(-age)}}
	}
	files := []Found{ // newest first, as list returns them
		file("new", 900, time.Minute), file("day", 100, 24*time.Hour), file("empty", 0, 30*time.Hour), file("old", 300, 48*time.Hour),
	}
	goal := func(s string) *Goal {
		var g Goal
		if err := g.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		return &g
	}
	for name, test := range map[string]struct {
		rule    Rule
		fs      Space
		pending int64
		want    string
		short   int64
	}{
		"by size":                      {Rule{Above: 500}, Space{}, 0, "new", 0},
		"by size, newest kept":         {Rule{Above: 50, Keep: 1}, Space{}, 0, "old day", 0},
		"by age":                       {Rule{Older: sdk.Duration(25 * time.Hour)}, Space{}, 0, "old", 0},
		"enough free":                  {Rule{Free: goal("10%")}, Space{1000, 100}, 0, "", 0},
		"the oldest is enough":         {Rule{Free: goal("400B")}, Space{1000, 100}, 0, "old", 0},
		"two are enough":               {Rule{Free: goal("50%")}, Space{1000, 100}, 0, "old day", 0},
		"what is on its way counts":    {Rule{Free: goal("50%")}, Space{1000, 100}, 200, "old", 0},
		"all are not enough":           {Rule{Free: goal("99%")}, Space{10000, 100}, 0, "old day new", 8500},
		"kept files do not count":      {Rule{Free: goal("99%"), Keep: 1}, Space{10000, 100}, 0, "old day", 9400},
		"what goes anyway counts once": {Rule{Above: 500, Free: goal("50%")}, Space{2000, 100}, 0, "new", 0},
	} {
		t.Run(name, func(t *testing.T) {
			ready, short := Choose(test.rule, files, test.fs, test.pending, now)
			var got []string
			for _, f := range ready {
				got = append(got, f.Path)
			}
			if s := strings.Join(got, " "); s != test.want || short != test.short {
				t.Errorf("got %q and %d missing, want %q and %d", s, short, test.want, test.short)
			}
		})
	}
}

// TestDatabaseFolder has data folders of databases whose files are called *.log, and folders that only look like them.
func TestDatabaseFolder(t *testing.T) {
	for name, test := range map[string]struct {
		files []string
		kind  string // empty: its logs are moved
	}{
		"LevelDB":            {[]string{"000003.log", "CURRENT", "LOCK", "MANIFEST-000002"}, "LevelDB"},
		"RocksDB":            {[]string{"000021.log", "000020.sst", "LOCK", "OPTIONS-000007"}, "RocksDB"},
		"Kafka":              {[]string{"00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex"}, "Kafka"},
		"Cassandra":          {[]string{"CommitLog-7-1699.log"}, "Cassandra"},
		"HSQLDB":             {[]string{"shop.log", "shop.script", "shop.properties"}, "HSQLDB"},
		"Bitcask":            {[]string{"1.bitcask.data", "1.log"}, "Bitcask"},
		"Lucene":             {[]string{"segments_1", "write.lock", "_0.log"}, "Lucene"},
		"ZooKeeper":          {[]string{"log.1", "snapshot.0", "x.log"}, "ZooKeeper"},
		"logs":               {[]string{"app.log", "app.log.1", "error.log"}, ""},
		"a link to the last": {[]string{"app.log", "current"}, ""},
		"a lock beside logs": {[]string{"app.log", "LOCK"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "data")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, f := range test.files {
				if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l, err := List(Rule{Paths: []string{root + "/**/*.log"}}, Places{Secondary: []string{root}})
			if err != nil {
				t.Fatal(err)
			}
			if test.kind == "" {
				if len(l.Files) == 0 || len(l.Refused) != 0 {
					t.Errorf("found %d, refused %v", len(l.Files), l.Refused)
				}
				return
			}
			if len(l.Files) != 0 || len(l.Refused) == 0 {
				t.Errorf("found %v, refused %v", l.Files, l.Refused)
			}
			for _, err := range l.Refused {
				if !errors.Is(err, file.ErrUnsafe) || !strings.Contains(err.Error(), test.kind) {
					t.Errorf("refused: %v", err)
				}
			}
		})
	}
}

// TestLookBeforeOpening has a FIFO that matches a rule: it is refused without being opened, as its writer would notice.
func TestLookBeforeOpening(t *testing.T) {
	root := t.TempDir()
	fifo := filepath.Join(root, "pipe.log")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(watch) })
	if _, err := unix.InotifyAddWatch(watch, fifo, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	l, err := List(Rule{Paths: []string{root + "/*.log"}}, Places{Secondary: []string{root}})
	if err != nil || len(l.Files) != 0 || file.Reason(l.Refused[fifo]) != "it is not a regular file" {
		t.Errorf("found %v, refused %v, %v", l.Files, l.Refused, err)
	}
	if n, err := unix.Read(watch, make([]byte, 4096)); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the FIFO was opened: %d bytes of events, %v", n, err)
	}
}
