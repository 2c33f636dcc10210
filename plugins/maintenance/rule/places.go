package rule

import (
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
)

// Places are the folders below which rules may name files. All else on a host belongs to an application, a database
// or the system.
type Places struct {
	Secondary []string // hold logs and dumps only
	Teams     []string // hold a team's files of any kind
}

// HostPlaces returns the places of a real host. The agent's unit cannot write anywhere else.
func HostPlaces() Places {
	return Places{Secondary: []string{"/var/log", "/var/crash", "/var/dumps"}, Teams: []string{"/data", "/mnt"}}
}

// Folders returns all of them.
func (p Places) Folders() []string { return slices.Concat(p.Secondary, p.Teams) }

// Hold reports whether a path lies in one of them.
func (p Places) Hold(name string) bool {
	return file.Below(name, p.Secondary...) || file.Below(name, p.Teams...)
}

// Folders below the places that hold no logs, whatever their files are called.
var keptFolders = []string{"/var/log/journal", "/var/log/troop"}

// keptNames are files that a database, the system or an application needs: patterns of path.Match in lower case, for
// the last part of a path.
var keptNames = []string{
	"*.db", "*.db-wal", "*.db-shm", "*.db-journal", "*.sqlite", "*.sqlite[0-9]", "*.sqlite-*", "*.sqlite[0-9]-*", // SQLite
	"*.rdb", "*.aof", "appendonly*", "nodes.conf", // Redis
	"pg_version", "pg_control", "postmaster.pid", "postgresql.auto.conf", // PostgreSQL
	"*.ibd", "ibdata*", "ib_logfile*", "undo_[0-9]*", "*.frm", "*.my[di]", "mysql-bin.*", "binlog.*", "aria_log*", // MySQL, MariaDB
	"*.wt", "wiredtiger*", "*.mdb", "*.ldb", "*.sst", "manifest-[0-9]*", "*.dbf", "*.kdb*", // MongoDB, LMDB, RocksDB and others
	"wtmp*", "btmp*", "lastlog", "faillog", "*.journal", // the system's own records
	"*.js", "*.mjs", "*.cjs", "*.json", "*.py", "*.rb", "*.php", "*.jar", "*.war", "*.so", "*.so.*", "*.sh", "*.env",
	"*.pem", "*.key", "*.conf", "*.cfg", "*.toml", "*.yaml", "*.yml", "*.service",
}

// keptParts are names of folders of databases and applications, wherever they are.
var keptParts = []string{
	"base", "global", "pg_wal", "pg_xlog", "pg_xact", "pg_multixact", "pg_tblspc", "appendonlydir",
	"node_modules", "releases", ".git", "site-packages",
}

// secondaryName matches names of logs and dumps. Below a team's folder, only such files may be named.
var secondaryName = regexp.MustCompile(`\.(log|out|err|trace|dmp|dump|core|hprof|csv)([.-][0-9[][]0-9A-Za-z_.:*?[-]*)?(\.(gz|zst|xz|bz2))?$`)

const remedy = `rules may name logs and dumps below /var/log, /var/crash and /var/dumps, and below /data and /mnt by their extension (such as /data/shop/*.log)`

// checkPattern says what is wrong with a path pattern of a rule.
func (p Places) checkPattern(pattern string) error {
	switch {
	case !strings.HasPrefix(pattern, "/"):
		return fmt.Errorf("want an absolute path, got %q", pattern)
	case path.Clean(pattern) != pattern || strings.Contains(pattern, ".."):
		return fmt.Errorf("want a path without //, . and .., got %q", pattern)
	case !doublestar.ValidatePattern(pattern):
		return fmt.Errorf("want a pattern of *, **, ?, [a-z] and {a,b}, got %q", pattern)
	case strings.ContainsAny(pattern, `\`):
		return fmt.Errorf(`want a pattern without \, got %q`, pattern)
	}
	root, _ := splitPattern(pattern)
	if !p.Hold(root) {
		return fmt.Errorf("%q could reach %s; %s", pattern, owner(root), remedy)
	}
	if slices.Contains(p.Teams, root) {
		return fmt.Errorf("%q names everything below %s; name a folder in it", pattern, root)
	}
	// Alternatives are checked one by one: {app.log,dump.rdb} names both files.
	for _, one := range alternatives(pattern) {
		if reason := p.kept(one); reason != "" {
			return fmt.Errorf("%q: %s", one, reason)
		}
	}
	return nil
}

// kept says why a file must not be moved, by its path: empty when it may be. A pattern without alternatives is a path, too.
func (p Places) kept(name string) string {
	if file.Below(name, keptFolders...) {
		return "it belongs to the system; " + remedy
	}
	for part := range strings.SplitSeq(path.Dir(name), "/") {
		if slices.Contains(keptParts, part) {
			return fmt.Sprintf("it lies in a folder of a database or an application (%s); %s", part, remedy)
		}
	}
	base := strings.ToLower(path.Base(name))
	for _, kept := range keptNames {
		if ok, err := path.Match(kept, base); ok || err != nil {
			return fmt.Sprintf("it is a file that a database, an application or the system needs (%s); %s", kept, remedy)
		}
	}
	if file.Below(name, p.Teams...) && !secondaryName.MatchString(strings.TrimSuffix(base, "*")) && !secondaryName.MatchString(base) {
		return fmt.Sprintf("it may be more than a log: below %s the last part must end in an extension of logs or dumps; %s",
			strings.Join(p.Teams, " and "), remedy)
	}
	return ""
}

// owner says what a folder holds, for messages.
func owner(dir string) string {
	for _, x := range []struct{ dir, whose string }{
		{"/opt", "the application's folder"},
		{"/srv", "the application's folder"},
		{"/home", "people's files"},
		{"/root", "people's files"},
		{"/var/lib", "databases and the state of services"},
		{"/var/www", "the application's folder"},
		{"/etc", "the system's configuration"},
	} {
		if file.Below(dir, x.dir) {
			return x.whose + " (" + dir + ")"
		}
	}
	return dir + ", which holds more than logs"
}

// splitPattern returns the folder that holds all files of a pattern, and the pattern below it.
func splitPattern(pattern string) (root, rel string) {
	if i := strings.IndexAny(pattern, "*?[{"); i >= 0 {
		root = path.Dir(pattern[:i] + "x")
	} else {
		root = path.Dir(pattern)
	}
	return root, strings.TrimPrefix(strings.TrimPrefix(pattern, root), "/")
}

// alternatives expands {a,b}, nested ones too.
func alternatives(pattern string) []string {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}
	}
	depth, from := 0, open+1
	var parts []string
	for i := open; i < len(pattern); i++ {
		switch pattern[i] {
		case '{':
			depth++
		case ',':
			if depth == 1 {
				parts = append(parts, pattern[from:i])
				from = i + 1
			}
		case '}':
			if depth--; depth > 0 {
				continue
			}
			parts = append(parts, pattern[from:i])
			var all []string
			for _, p := range parts {
				all = append(all, alternatives(pattern[:open]+p+pattern[i+1:])...)
			}
			return all
		}
	}
	return []string{pattern}
}

// maxHoles is how many bytes of a file may be holes. They are read, hashed and compressed like data: of some terabytes, which
// cost its owner nothing, that takes hours in which no other file is moved.
const maxHoles = 64 << 30

var errDatabase = errors.New("its content is a database")

// checkContent refuses databases and programs by the first bytes of a file.
func checkContent(head []byte) error {
	for magic, what := range map[string]string{
		"SQLite format 3\x00":              "SQLite",
		"\x37\x7f\x06\x82":                 "SQLite's write-ahead log",
		"\x37\x7f\x06\x83":                 "SQLite's write-ahead log",
		"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7": "SQLite's journal",
		"REDIS0":                           "Redis (RDB)",
		"*2\r\n$6\r\nSELECT\r\n":           "Redis (AOF)",
		"LPKSHHRH":                         "systemd's journal",
		"\xfebin":                          "MySQL's binary log",
		"\x7fELF":                          "a program",
	} {
		if strings.HasPrefix(string(head), magic) {
			if magic == "\x7fELF" && elfCore(head) {
				continue
			}
			return fmt.Errorf("%w: %s", errDatabase, what)
		}
	}
	return nil
}

// elfCore reports whether an ELF file is a core dump (e_type 4) and no program.
func elfCore(head []byte) bool {
	const coreType = 4
	return len(head) > 17 && (head[16] == coreType || head[17] == coreType)
}

// Inspect identifies a file that a rule names. It refuses the file for its place, its name, its kind or its content:
// the error is file.ErrUnsafe then.
func (p Places) Inspect(d *file.Folder, name string) (file.ID, error) {
	full := filepath.Join(d.Path, name)
	if !p.Hold(full) {
		return file.ID{}, file.Refuse(full, remedy)
	}
	if reason := p.kept(full); reason != "" {
		return file.ID{}, file.Refuse(full, reason)
	}
	f, id, err := d.Open(name, unix.O_RDONLY)
	if err != nil {
		return file.ID{}, err
	}
	defer f.Close()
	if id.Size-id.Disk > maxHoles {
		return file.ID{}, file.Refuse(full, "its holes are larger than 64 GiB; a log whose writer opens it with O_APPEND has none")
	}
	head := make([]byte, 64)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return file.ID{}, fmt.Errorf("read %s: %w", full, err)
	}
	if err := checkContent(head[:n]); err != nil {
		return file.ID{}, file.Refuse(full, err.Error())
	}
	return id, nil
}
