package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-b96de936/troop/core"
)

// maxSize of a manifest in bytes. The largest that people write are a hundredth of it.
const maxSize = 1 << 20

// fileName is the manifest that a folder has when it has one only.
const fileName = "pipeline.hcl"

// Find returns the absolute path of the manifest that path means: a file; a folder with a pipeline.hcl, or with one
// file *.pipeline.hcl; the current folder when path is empty. It does not read the file.
func Find(path string) (string, core.Diagnostics) {
	if path == "" {
		path = "."
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return "", unreadable(path, err)
	}
	info, err := os.Stat(full)
	if err != nil {
		return "", unreadable(full, err)
	}
	if !info.IsDir() {
		return full, nil
	}
	usual := filepath.Join(full, fileName)
	if _, err := os.Lstat(usual); err == nil {
		return usual, nil
	}
	several, err := filepath.Glob(filepath.Join(escapeGlob(full), "*."+fileName))
	if err != nil {
		return "", unreadable(full, err)
	}
	switch len(several) {
	case 1:
		return several[0], nil
	case 0:
		return "", core.Diagnostics{{
			Summary: "No manifest found",
			Detail:  fmt.Sprintf("There is no %s in %s. Name the file, or write one with: troop init.", fileName, folder(full)),
		}}
	}
	for i := range several {
		several[i] = "  " + display(several[i])
	}
	return "", core.Diagnostics{{
		Summary: "Several manifests found",
		Detail:  "Name one of them:\n" + strings.Join(several, "\n"),
	}}
}

func folder(path string) string {
	if shown := display(path); shown != "." {
		return shown
	}
	return "this folder"
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// read returns the text of a manifest.
func read(file string) ([]byte, core.Diagnostics) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, unreadable(file, err)
	case info.IsDir():
		return nil, fileError("Manifest is a folder", "%s is a folder; a manifest is a file.", display(file))
	case !info.Mode().IsRegular():
		return nil, fileError("Manifest is not a file", "%s is not a regular file.", display(file))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, unreadable(file, err)
	}
	defer func() { _ = f.Close() }()
	src, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, unreadable(file, err)
	}
	if len(src) > maxSize {
		return nil, fileError("Manifest is too large",
			"%s has %s; a manifest has 1 MiB at most. Is it the right file?", display(file), mebibytes(info.Size()))
	}
	return src, checkText(file, src)
}

func mebibytes(n int64) string {
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// checkText refuses what is no text, before the parser complains about it byte by byte.
func checkText(file string, src []byte) core.Diagnostics {
	pos := core.Pos{Line: 1, Column: 1}
	for pos.Byte < len(src) {
		r, size := utf8.DecodeRune(src[pos.Byte:])
		var problem, remedy string
		switch {
		case r == utf8.RuneError && size == 1:
			problem = fmt.Sprintf("byte 0x%02x is not UTF-8", src[pos.Byte])
			remedy = "Save the file as UTF-8."
		case r == 0:
			problem = "it holds a NUL byte"
			remedy = "Is it the right file? A file saved as UTF-16 has to be saved as UTF-8."
		}
		if problem != "" {
			end := pos
			end.Byte += size
			end.Column++
			return core.Diagnostics{{
				Summary: "Manifest is not a text file",
				Detail:  fmt.Sprintf("A manifest is UTF-8 text, but here %s. %s", problem, remedy),
				Range:   core.Range{File: file, Start: pos, End: end},
			}}
		}
		pos.Byte += size
		pos.Column++
		if r == '\n' {
			pos.Line, pos.Column = pos.Line+1, 1
		}
	}
	return nil
}

func fileError(summary, format string, args ...any) core.Diagnostics {
	return core.Diagnostics{{Summary: summary, Detail: fmt.Sprintf(format, args...)}}
}

func unreadable(file string, err error) core.Diagnostics {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fileError("Manifest not found",
			"There is no file %s. Name an existing one, or write one with: troop init.", display(file))
	case errors.Is(err, fs.ErrPermission):
		return fileError("Manifest cannot be read", "No permission to read %s.", display(file))
	}
	return fileError("Manifest cannot be read", "%s: %v.", display(file), reason(err))
}

// reason is err without the path, which the sentence around it names already.
func reason(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

// display shortens a path: relative to the current folder where that is shorter.
func display(path string) string {
	cwd, err := os.Getwd()
	if err != nil || !filepath.IsAbs(path) {
		return path
	}
	rel, err := filepath.Rel(cwd, path)
	if err != nil || len(rel) >= len(path) {
		return path
	}
	return rel
}

// Alone reports whether a manifest is the only one in its folder, and so the only one with the plugin lock there.
func Alone(file string) bool {
	all, err := filepath.Glob(filepath.Join(escapeGlob(filepath.Dir(file)), "*.hcl"))
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(all, func(path string) bool { return path != file && !strings.HasSuffix(path, ".lock.hcl") })
}
