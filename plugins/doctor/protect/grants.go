package protect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// grants are the users and groups to whom sudo or polkit gives the rights of another user. Whoever is named counts, also
// for a single command, or where a rule takes a right away again: an administrator too many is only not touched.
type grants struct {
	users   map[string]bool
	uids    map[uint32]bool
	groups  map[string]bool
	gids    map[uint32]bool
	all     string // what grants rights to everybody; empty: nothing does
	unknown error  // why it is not known who else has rights
}

// maxIncludes limits files of sudo that include each other.
const maxIncludes = 128

// readGrants reads the rules of sudo and polkit in a folder (/etc), and the defaults of polkit in share (/usr/share). A
// host without their files has neither.
func readGrants(etc, share string) *grants {
	g := &grants{users: map[string]bool{}, uids: map[uint32]bool{}, groups: map[string]bool{}, gids: map[uint32]bool{}}
	g.readNSS(filepath.Join(etc, "nsswitch.conf"))
	r := &sudoReader{grants: g, etc: etc}
	r.file(filepath.Join(etc, "sudoers"))
	for _, dir := range []string{"rules.d", "localauthority.conf.d", "localauthority"} {
		g.readPolkit(filepath.Join(etc, "polkit-1", dir), true)
	}
	g.readPolkit(filepath.Join(share, "polkit-1", "rules.d"), false)
	return g
}

func (g *grants) fail(format string, args ...any) {
	if g.unknown == nil {
		g.unknown = fmt.Errorf(format, args...)
	}
}

// readNSS finds out whether rules of sudo come from elsewhere, such as LDAP.
func (g *grants) readNSS(name string) {
	b, err := os.ReadFile(name)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			g.fail("read the sources of sudo's rules: %w", err)
		}
		return
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		sources, ok := strings.CutPrefix(strings.TrimSpace(line), "sudoers:")
		for word := range strings.FieldsSeq(sources) {
			if ok && word != "files" && !strings.HasPrefix(word, "[") {
				g.fail("sudo takes rules from %s", word)
			}
		}
	}
}

// name adds who is named in a list of users: name, #uid, %group, %#gid, or ALL.
func (g *grants) name(item, where string) {
	item = strings.TrimLeft(item, "! \t")
	number := func(text string, to map[uint32]bool) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			g.fail("%s: %q is no number", where, text)
			return
		}
		to[uint32(n)] = true
	}
	switch {
	case item == "":
	case item == "ALL":
		g.all = where
	case strings.ContainsAny(item, `\*?[`), strings.HasPrefix(item, "+"), strings.HasPrefix(item, "%:"):
		g.fail("%s: it is not known whom %q names", where, item)
	case strings.HasPrefix(item, "%#"):
		number(item[2:], g.gids)
	case strings.HasPrefix(item, "%"):
		g.groups[item[1:]] = true
	case strings.HasPrefix(item, "#"):
		number(item[1:], g.uids)
	default:
		g.users[item] = true
	}
}

// sudoReader reads sudoers files (sudoers(5)).
type sudoReader struct {
	*grants
	etc   string
	files int
}

func (r *sudoReader) file(name string) {
	if r.files++; r.files > maxIncludes {
		r.fail("read rules of sudo: more than %d files", maxIncludes)
		return
	}
	b, err := os.ReadFile(name)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			r.fail("read rules of sudo: %w", err)
		}
		return
	}
	text := strings.ReplaceAll(string(b), "\\\n", " ")
	for line := range strings.Lines(text) {
		r.line(name, strings.TrimSpace(line))
	}
}

func (r *sudoReader) line(file, line string) {
	word, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	switch word {
	case "@include", "#include":
		r.file(r.path(file, rest))
		return
	case "@includedir", "#includedir":
		r.folder(r.path(file, rest))
		return
	case "User_Alias":
		for alias := range strings.SplitSeq(stripComment(rest), ":") {
			_, list, _ := strings.Cut(alias, "=")
			for item := range strings.SplitSeq(list, ",") {
				r.name(strings.Trim(strings.TrimSpace(item), `"`), file)
			}
		}
		return
	case "Runas_Alias", "Host_Alias", "Cmnd_Alias", "Cmd_Alias":
		return
	}
	if strings.HasPrefix(word, "Defaults") {
		return
	}
	for rest := stripComment(line); rest != ""; {
		var item string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			item, rest, _ = strings.Cut(quoted, `"`)
		} else {
			end := strings.IndexAny(rest, ", \t=")
			if end < 0 {
				end = len(rest)
			}
			item, rest = rest[:end], rest[end:]
		}
		r.name(item, file)
		var more bool
		if rest, more = strings.CutPrefix(strings.TrimLeft(rest, " \t"), ","); !more {
			return // the hosts follow
		}
		rest = strings.TrimLeft(rest, " \t")
	}
}

// stripComment removes a comment. A # before a digit is a uid.
func stripComment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i+1 == len(line) || line[i+1] < '0' || line[i+1] > '9') && (i == 0 || line[i-1] != '%') {
			return strings.TrimSpace(line[:i])
		}
	}
	return line
}

// path resolves the path of an include. Paths in /etc are those of the folder that is read.
func (r *sudoReader) path(file, name string) string {
	name = strings.Trim(strings.TrimSpace(name), `"`)
	if strings.Contains(name, "%") {
		r.fail("%s includes %s, which depends on the host", file, name)
	}
	if below, ok := strings.CutPrefix(name, "/etc/"); ok {
		return filepath.Join(r.etc, below)
	}
	if !filepath.IsAbs(name) {
		return filepath.Join(filepath.Dir(file), name)
	}
	return name
}

func (r *sudoReader) folder(dir string) {
	list, err := os.ReadDir(dir)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			r.fail("read rules of sudo: %w", err)
		}
		return
	}
	for _, e := range list {
		if !strings.Contains(e.Name(), ".") && !strings.HasSuffix(e.Name(), "~") {
			r.file(filepath.Join(dir, e.Name()))
		}
	}
}

var (
	polkitIdentity = regexp.MustCompile(`unix-(user|group|netgroup):([^\s;'",\]]+)`)
	polkitSubject  = regexp.MustCompile(`subject\.(user\s*={2,3}|isInGroup\()\s*['"]([^'"]+)['"]`)
)

// readPolkit reads the names in polkit's rules, which are programs: whom they name may have rights. subjects says that the
// rules were written on this host: then they name people. Those of the distribution name groups of devices.
func (g *grants) readPolkit(dir string, subjects bool) {
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range polkitIdentity.FindAllStringSubmatch(string(b), -1) {
			switch {
			case m[1] == "group":
				g.groups[m[2]] = true
			case m[1] == "user" && m[2] == "*":
				g.all = name
			case m[1] == "user" && m[2] != "0":
				g.users[m[2]] = true
			case m[1] == "netgroup":
				g.fail("%s names a netgroup", name)
			}
		}
		if !subjects {
			return nil
		}
		for _, m := range polkitSubject.FindAllStringSubmatch(string(b), -1) {
			if strings.HasPrefix(m[1], "isInGroup") {
				g.groups[m[2]] = true
			} else {
				g.users[m[2]] = true
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		g.fail("read rules of polkit: %w", err)
	}
}
