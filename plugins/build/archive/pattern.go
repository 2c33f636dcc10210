package archive

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// CheckPattern says what is wrong with a pattern.
func CheckPattern(p string) error {
	if !doublestar.ValidatePattern(p) {
		return fmt.Errorf("%q is no pattern; brackets or braces are not closed", p)
	}
	if strings.HasPrefix(p, "/") || strings.HasPrefix(p, "./") {
		return fmt.Errorf("%q can match nothing: patterns are relative, write it without the leading %q", p, p[:strings.IndexByte(p, '/')+1])
	}
	return nil
}

// within reports whether path, or a folder that it is in, is matched.
func within(patterns []string, path string) bool {
	for ; path != "."; path = filepath.ToSlash(filepath.Dir(path)) {
		if matches(patterns, path) {
			return true
		}
	}
	return false
}

func matches(patterns []string, path string) bool {
	for _, p := range patterns {
		if ok, _ := doublestar.Match(p, path); ok { // CheckPattern has refused bad patterns
			return true
		}
	}
	return false
}
