package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// folder is an open directory. It was reached without following a symbolic link and, below a rule's root, without
// leaving the mount; what is done in it is done by its descriptor, so that nobody can swap the path. Every part is
// opened by itself: openat2 would do it in one call, but containers of older systemd refuse it.
type folder struct {
	*os.File
	path string
}

const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openFolder opens dir, which must be root or lie below it.
func openFolder(root, dir string) (*folder, error) {
	if !path.IsAbs(root) || !below(dir, root) {
		return nil, fmt.Errorf("open folder %s: it is not below %s", dir, root)
	}
	fd, err := unix.Open("/", openDir, 0)
	if err != nil {
		return nil, folderError("/", err)
	}
	d := &folder{os.NewFile(uintptr(fd), "/"), "/"}
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		next, err := d.enter(part, below(path.Join(d.path, part), root) && path.Join(d.path, part) != root)
		_ = d.Close() // read only
		if err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

// sub opens a folder in the folder, on the same mount.
func (d *folder) sub(name string) (*folder, error) { return d.enter(name, true) }

func (d *folder) enter(name string, sameMount bool) (*folder, error) {
	full := path.Join(d.path, name)
	fd, err := unix.Openat(int(d.Fd()), name, openDir, 0)
	if err != nil {
		return nil, folderError(full, err)
	}
	next := &folder{os.NewFile(uintptr(fd), full), full}
	if sameMount {
		if err := d.checkMount(next.File); err != nil {
			return nil, errors.Join(err, next.Close())
		}
	}
	return next, nil
}

// checkMount refuses what is mounted in the folder, a bind mount of the same file system too.
func (d *folder) checkMount(f *os.File) error {
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
	if other { // devices say less: on an overlay, a file has another one than its folder
		return fmt.Errorf("%s: %w: it is another mount", f.Name(), errUnsafe)
	}
	return nil
}

// errUnsafe marks what is refused for its place, not for a fault.
var errUnsafe = errors.New("refused")

func folderError(name string, err error) error {
	// O_NOFOLLOW with O_DIRECTORY says ENOTDIR of a symbolic link.
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("open folder %s: %w: it is a symbolic link, or no folder", name, errUnsafe)
	}
	return fmt.Errorf("open folder %s: %w", name, err)
}

// open opens a file of the folder, and nothing but a regular file with one name.
func (d *folder) open(name string, flags int) (*os.File, fileID, error) {
	full := path.Join(d.path, name)
	// Without O_NONBLOCK a FIFO would block the agent.
	fd, err := unix.Openat(int(d.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fileID{}, fmt.Errorf("%s: %w: it is a symbolic link", full, errUnsafe)
	case errors.Is(err, unix.ENXIO):
		return nil, fileID{}, fmt.Errorf("%s: %w: it is no regular file", full, errUnsafe)
	case err != nil:
		return nil, fileID{}, &os.PathError{Op: "open", Path: full, Err: err}
	}
	f := os.NewFile(uintptr(fd), full)
	id, err := identify(f)
	if err == nil {
		err = d.checkMount(f)
	}
	if err != nil {
		return nil, fileID{}, errors.Join(err, f.Close())
	}
	return f, id, nil
}

// fileID is what tells one state of one file from another.
type fileID struct {
	Dev   uint64    `json:"dev"`
	Inode uint64    `json:"inode"`
	Size  int64     `json:"size"`
	MTime time.Time `json:"mtime"`
	Mode  uint32    `json:"mode"` // permission bits
	UID   uint32    `json:"uid"`
	GID   uint32    `json:"gid"`
}

// same reports whether it is the same file; unchanged, whether it also holds the same.
func (a fileID) same(b fileID) bool { return a.Dev == b.Dev && a.Inode == b.Inode }

func (a fileID) unchanged(b fileID) bool {
	return a.same(b) && a.Size == b.Size && a.MTime.Equal(b.MTime)
}

func identify(f *os.File) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileID{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fileID{}, fmt.Errorf("%s: %w: it is no regular file", f.Name(), errUnsafe)
	case st.Nlink > 1:
		return fileID{}, fmt.Errorf("%s: %w: it has %d names (hard links)", f.Name(), errUnsafe, st.Nlink)
	}
	return fileID{
		Dev: st.Dev, Inode: st.Ino, Size: st.Size, MTime: time.Unix(st.Mtim.Unix()), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
	}, nil
}

// inspect opens a file that a rule names and refuses it for its name, its kind or its content.
func (d *folder) inspect(name string, allowed places) (fileID, error) {
	full := filepath.Join(d.path, name)
	if !allowed.hold(full) {
		return fileID{}, fmt.Errorf("%s: %w: %s", full, errUnsafe, remedy)
	}
	if err := allowed.checkName(full); err != nil {
		return fileID{}, fmt.Errorf("%w: %w", errUnsafe, err)
	}
	f, id, err := d.open(name, unix.O_RDONLY)
	if err != nil {
		return fileID{}, err
	}
	defer f.Close()
	head := make([]byte, 64)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fileID{}, fmt.Errorf("read %s: %w", full, err)
	}
	if err := checkContent(head[:n]); err != nil {
		return fileID{}, fmt.Errorf("%s: %w: %w", full, errUnsafe, err)
	}
	return id, nil
}

// rename gives a file of the folder another name that nothing has yet.
func (d *folder) rename(from, to string) error {
	if err := unix.Renameat2(int(d.Fd()), from, int(d.Fd()), to, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: path.Join(d.path, from), New: to, Err: err}
	}
	return d.sync()
}

// remove unlinks a file of the folder.
func (d *folder) remove(name string) error {
	if err := unix.Unlinkat(int(d.Fd()), name, 0); err != nil {
		return &os.PathError{Op: "remove", Path: path.Join(d.path, name), Err: err}
	}
	return d.sync()
}

// sync makes renames and removals last.
func (d *folder) sync() error {
	if err := unix.Fsync(int(d.Fd())); err != nil {
		return &os.PathError{Op: "sync", Path: d.path, Err: err}
	}
	return nil
}

var errHeld = errors.New("a process still writes to it")

// released reports whether nobody has the file open for writing: the kernel grants a read lease only then.
// errHeld says that somebody has; another error, that it cannot be known, and the file must stay.
func released(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return errHeld
	}
	if err != nil {
		return fmt.Errorf("ask whether a process writes to %s: %w", f.Name(), err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		return fmt.Errorf("give back the lease on %s: %w", f.Name(), err)
	}
	return nil
}

// writers names processes that have the file open for writing, for people. It finds what it may see.
func writers(proc string, id fileID) []string {
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "[0-9]*"))
	if err != nil {
		return nil
	}
	var list []string
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
		if flags&unix.O_ACCMODE == unix.O_RDONLY {
			continue
		}
		name := filepath.Base(dir)
		if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
			name += " " + strings.TrimSpace(string(comm))
		}
		list = append(list, name)
	}
	return list
}
