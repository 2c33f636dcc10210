// Package file works safely on files that other users can rename, replace and link at any moment: it uses open folders, not
// paths. The maintenance plugin's agent runs it; the plugin and its packages import it.
package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Folder is an open directory. It was opened without following a symbolic link and, below a rule's root, without
// leaving the mount. Its methods use the descriptor, so that the path cannot be swapped. Each part of the path is opened
// by itself: openat2 would need one call, but containers of older systemd refuse it.
type Folder struct {
	*os.File
	Path string
}

const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// OpenFolder opens dir, which must be root or lie below it.
func OpenFolder(root, dir string) (*Folder, error) {
	if !path.IsAbs(root) || !Below(dir, root) {
		return nil, fmt.Errorf("open folder %s: it is not below %s", dir, root)
	}
	fd, err := unix.Open("/", openDir, 0)
	if err != nil {
		return nil, folderError("/", err)
	}
	d := &Folder{os.NewFile(uintptr(fd), "/"), "/"}
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		next, err := d.enter(part, Below(path.Join(d.Path, part), root) && path.Join(d.Path, part) != root)
		_ = d.Close() // read only
		if err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

// Sub opens a folder of the folder. It must be on the same mount.
func (d *Folder) Sub(name string) (*Folder, error) { return d.enter(name, true) }

func (d *Folder) enter(name string, sameMount bool) (*Folder, error) {
	full := path.Join(d.Path, name)
	fd, err := unix.Openat(int(d.Fd()), name, openDir, 0)
	if err != nil {
		return nil, folderError(full, err)
	}
	next := &Folder{os.NewFile(uintptr(fd), full), full}
	if sameMount {
		if err := d.checkMount(next.File); err != nil {
			return nil, errors.Join(err, next.Close())
		}
	}
	return next, nil
}

// checkMount refuses a mount in the folder, also a bind mount of the same file system.
func (d *Folder) checkMount(f *os.File) error {
	var here, there unix.Statx_t
	const mask = unix.STATX_MNT_ID | unix.STATX_INO
	for fd, st := range map[uintptr]*unix.Statx_t{d.Fd(): &here, f.Fd(): &there} {
		if err := unix.Statx(int(fd), "", unix.AT_EMPTY_PATH, mask, st); err != nil {
			return &os.PathError{Op: "stat", Path: f.Name(), Err: err}
		}
	}
	other := here.Mnt_id != there.Mnt_id
	if here.Mask&there.Mask&unix.STATX_MNT_ID == 0 { // before Linux 5.8
		other = here.Dev_major != there.Dev_major || here.Dev_minor != there.Dev_minor
	}
	if other { // device numbers are no proof: on an overlay, a file and its folder differ
		return Refuse(f.Name(), "it is another mount")
	}
	return nil
}

// ErrUnsafe: a file or folder is refused permanently; a retry does not help.
var ErrUnsafe = errors.New("refused")

// Refusal is an error of kind ErrUnsafe. Its reason is the same for every file of its kind.
type Refusal struct{ Path, Reason string }

// Refuse returns a Refusal.
func Refuse(path, reason string) error { return &Refusal{path, reason} }

func (r *Refusal) Error() string { return r.Path + ": refused: " + r.Reason }

// Is makes a Refusal an ErrUnsafe.
func (r *Refusal) Is(target error) bool { return target == ErrUnsafe }

// Reason returns what an error says about a file, without the file's name.
func Reason(err error) string {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r.Reason
	}
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		return p.Op + ": " + p.Err.Error()
	}
	return err.Error()
}

func folderError(name string, err error) error {
	// O_NOFOLLOW with O_DIRECTORY says ENOTDIR of a symbolic link.
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return Refuse(name, "it is a symbolic link, or not a folder")
	}
	return fmt.Errorf("open folder %s: %w", name, err)
}

// Open opens a regular file of the folder. It refuses links, files with several hard links, mounts and non-regular files. It
// checks before it opens: opening a FIFO or a device has side effects.
func (d *Folder) Open(name string, flags int) (*os.File, ID, error) {
	full := path.Join(d.Path, name)
	fd, err := unix.Openat(int(d.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, ID{}, &os.PathError{Op: "open", Path: full, Err: err}
	}
	look := os.NewFile(uintptr(fd), full)
	defer look.Close()
	if _, err := Identify(look); err != nil {
		return nil, ID{}, err
	}
	if err := d.checkMount(look); err != nil {
		return nil, ID{}, err
	}
	// The same file, even if its name was reused.
	fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", look.Fd()), flags|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, ID{}, &os.PathError{Op: "open", Path: full, Err: err}
	}
	f := os.NewFile(uintptr(fd), full)
	id, err := Identify(f)
	if err != nil {
		return nil, ID{}, errors.Join(err, f.Close())
	}
	return f, id, nil
}

// ID identifies a file and one state of it.
type ID struct {
	Dev   uint64    `json:"dev"`
	Inode uint64    `json:"inode"`
	Size  int64     `json:"size"`
	Disk  int64     `json:"disk,omitempty"` // bytes that it takes on disk
	MTime time.Time `json:"mtime"`
	Mode  uint32    `json:"mode"` // permission bits
	UID   uint32    `json:"uid"`
	GID   uint32    `json:"gid"`
}

// Used returns how many bytes the file takes at least: holes take none. A small file may be in its inode.
func (a ID) Used() int64 {
	const block = 4096
	if a.Size <= block {
		return a.Size
	}
	return min(a.Size, a.Disk)
}

// Same reports whether it is the same file.
func (a ID) Same(b ID) bool { return a.Dev == b.Dev && a.Inode == b.Inode }

// Unchanged reports whether it is the same file with the same content.
func (a ID) Unchanged(b ID) bool {
	return a.Same(b) && a.Size == b.Size && a.MTime.Equal(b.MTime)
}

// Identify identifies an open file. It refuses all but a regular file with one name.
func Identify(f *os.File) (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return ID{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return ID{}, Refuse(f.Name(), "it is a symbolic link")
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return ID{}, Refuse(f.Name(), "it is not a regular file")
	case st.Nlink > 1:
		return ID{}, Refuse(f.Name(), "it has several names (hard links)")
	}
	return ID{
		Dev: st.Dev, Inode: st.Ino, Size: st.Size, Disk: st.Blocks * 512, MTime: time.Unix(st.Mtim.Unix()), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
	}, nil
}

// BeginsWith reports whether f begins with all of the content of part, and cannot have been written anew so far: part is not
// short, and its end is nowhere else in it.
func BeginsWith(f, part *os.File) (bool, error) {
	st, err := part.Stat()
	if err != nil {
		return false, err
	}
	if st.Size() <= tailSize {
		return st.Size() == 0, nil
	}
	tail := make([]byte, tailSize)
	if _, err := part.ReadAt(tail, st.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	// Of both a piece, after the end of the one before: the tail may be across.
	a, b := make([]byte, tailSize+pieceSize), make([]byte, pieceSize)
	ends, kept := 0, 0
	for at := int64(0); at < st.Size(); {
		want := min(pieceSize, st.Size()-at)
		n, err := part.ReadAt(a[kept:kept+int(want)], at)
		m, errF := f.ReadAt(b[:n], at)
		if err := errors.Join(notEOF(err), notEOF(errF)); err != nil {
			return false, err
		}
		if n == 0 || m < n || !bytes.Equal(a[kept:kept+n], b[:n]) {
			return false, nil
		}
		at += int64(n)
		seen := a[:kept+n]
		ends += bytes.Count(seen, tail)
		kept = min(len(seen), len(tail)-1)
		copy(a, seen[len(seen)-kept:])
	}
	return ends <= 1, nil
}

const (
	tailSize  = 4 << 10   // bytes
	pieceSize = 256 << 10 // bytes
)

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Create makes a new file with mode 0600. It never opens an existing one.
func (d *Folder) Create(name string) (*os.File, error) {
	full := path.Join(d.Path, name)
	fd, err := unix.Openat(int(d.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), nil
}

// Rename renames a file of the folder. It never replaces a file.
func (d *Folder) Rename(from, to string) error {
	if err := unix.Renameat2(int(d.Fd()), from, int(d.Fd()), to, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: path.Join(d.Path, from), New: to, Err: err}
	}
	return d.Sync()
}

// Remove removes a file of the folder.
func (d *Folder) Remove(name string) error {
	if err := unix.Unlinkat(int(d.Fd()), name, 0); err != nil {
		return &os.PathError{Op: "remove", Path: path.Join(d.Path, name), Err: err}
	}
	return d.Sync()
}

// Sync writes renames and removals to disk.
func (d *Folder) Sync() error {
	if err := unix.Fsync(int(d.Fd())); err != nil {
		return &os.PathError{Op: "sync", Path: d.Path, Err: err}
	}
	return nil
}

var ErrHeld = errors.New("a process still writes to it")

// Released returns nil when no process has the file open for writing: only then the kernel grants a read lease. ErrHeld
// says that a process has. With any other error it is unknown, and the file must not be removed.
func Released(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return ErrHeld
	}
	if err != nil {
		return fmt.Errorf("take a lease on %s: %w", f.Name(), err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		return fmt.Errorf("release the lease on %s: %w", f.Name(), err)
	}
	return nil
}

// Writers names the processes that have the file open for writing, for messages. It finds those that it may inspect.
func Writers(proc string, id ID) []string {
	var list []string
	for _, pid := range WriterPIDs(proc, id) {
		name := strconv.Itoa(pid)
		if comm, err := os.ReadFile(filepath.Join(proc, name, "comm")); err == nil {
			name += " " + strings.TrimSpace(string(comm))
		}
		list = append(list, name)
	}
	return list
}

// WriterPIDs returns the processes that have the file open for writing. It finds those that it may inspect.
func WriterPIDs(proc string, id ID) []int {
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "[0-9]*"))
	if err != nil {
		return nil
	}
	var list []int
	for _, link := range links {
		var st unix.Stat_t
		if unix.Stat(link, &st) != nil || st.Dev != id.Dev || st.Ino != id.Inode {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", filepath.Base(link)))
		if err != nil {
			continue
		}
		var flags int
		for line := range strings.Lines(string(info)) {
			if v, ok := strings.CutPrefix(line, "flags:"); ok {
				_, _ = fmt.Sscanf(strings.TrimSpace(v), "%o", &flags) // 0 when it cannot be read: not a writer
			}
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if flags&unix.O_ACCMODE != unix.O_RDONLY && err == nil && !slices.Contains(list, pid) {
			list = append(list, pid)
		}
	}
	return list
}

// Below reports whether name is one of dirs or lies in one.
func Below(name string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return name == d || strings.HasPrefix(name, d+"/") })
}
