package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shirou/gopsutil/v4/common"
	"github.com/shirou/gopsutil/v4/process"
)

const (
	maxCommand = 2048 // bytes of a command line in evidence
	maxFiles   = 20   // open files listed in evidence
)

// CommandLine returns the command line without secrets, or the command name in brackets.
func CommandLine(proc string, f Facts) string {
	dir := folder(proc, f.PID)
	b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	for _, thread := range threads(dir) { // of a process whose main thread has ended
		if err != nil || len(b) > 0 {
			break
		}
		b, err = os.ReadFile(filepath.Join(thread, "cmdline"))
	}
	if err != nil || len(b) == 0 {
		return "[" + f.Comm + "]"
	}
	args := strings.Split(string(bytes.TrimRight(b, "\x00")), "\x00")
	line := strings.ToValidUTF8(strings.Join(redact(args), " "), "\uFFFD")
	if len(line) > maxCommand {
		line = line[:maxCommand] + "…"
	}
	return line
}

var (
	secretName  = `(?i)(pass(w(or)?d|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|auth(orization)?)`
	secretFlag  = regexp.MustCompile(secretName + `$`)
	secretPair  = regexp.MustCompile(secretName + `\s*[=:]\s*\S.*`)
	urlPassword = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*):[^/\s]*@`)
	bearer      = regexp.MustCompile(`(?i)\b(bearer|basic)\s+\S+`)
)

const masked = "***"

// redact replaces values that look like secrets in a command line: --password=X, --token X, PASSWORD=X,
// scheme://user:X@host, "Authorization: Bearer X", and mysql's -pX.
func redact(args []string) []string {
	out := make([]string, 0, len(args))
	next := false
	for i, a := range args {
		switch {
		case next && !strings.HasPrefix(a, "-"):
			a, next = masked, false
			out = append(out, a)
			continue
		case i > 0 && strings.HasPrefix(a, "-p") && len(a) > 2 && strings.HasPrefix(filepath.Base(args[0]), "mysql"):
			a = "-p" + masked
		}
		next = strings.HasPrefix(a, "-") && secretFlag.MatchString(a)
		out = append(out, RedactText(a))
	}
	return out
}

// RedactText replaces values in a text that look like secrets.
func RedactText(text string) string {
	text = urlPassword.ReplaceAllString(text, "$1:"+masked+"@")
	text = secretPair.ReplaceAllStringFunc(text, func(m string) string { return m[:strings.IndexAny(m, "=:")+1] + masked })
	return bearer.ReplaceAllString(text, "$1 "+masked)
}

// OpenFiles returns the number of open files of a process, -1 if it is unknown, and lists some of them. On most hosts,
// the doctor may not list files of other users' processes; since Linux 6.2 it may count them.
func OpenFiles(ctx context.Context, proc string, pid int) (int, []string) {
	count := -1
	if st, err := os.Stat(filepath.Join(folder(proc, pid), "fd")); err == nil && st.Size() > 0 {
		count = int(st.Size())
	}
	ctx = context.WithValue(ctx, common.EnvKey, common.EnvMap{common.HostProcEnvKey: proc})
	p := process.Process{Pid: int32(pid)}
	list, err := p.OpenFilesWithContext(ctx)
	if err != nil {
		return count, nil
	}
	var files []string
	for _, f := range list[:min(len(list), maxFiles)] {
		files = append(files, fmt.Sprintf("%d %s", f.Fd, f.Path))
	}
	return max(count, len(list)), files
}
