package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A manifest of a stranger learns nothing of what is outside its checkout.
func TestCheckoutIsNotLeft(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	top := filepath.Join(outside, "checkout")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(outside, "secret"), "secret")
	write(filepath.Join(top, ".git", "HEAD"), "ref")
	write(filepath.Join(top, "VERSION"), "1.2")
	write(filepath.Join(top, "shop", "name"), "shop")
	for link, to := range map[string]string{
		"shop/link": "../VERSION", "shop/out": "../../secret", "shop/absolute": filepath.Join(outside, "secret"), "shop/folder": "../..", "shop/nowhere": "../../nothing",
	} {
		if err := os.Symlink(to, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(top, "shop", "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCheckout(filepath.Join(top, "shop"))
	for path, want := range map[string]string{"name": "shop", "../VERSION": "1.2", "link": "1.2", filepath.Join(top, "VERSION"): "1.2"} {
		if got, err := c.text(path); err != nil || got != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		if ok, err := c.exists(path); err != nil || !ok {
			t.Errorf("%s exists: %v, %v", path, ok, err)
		}
	}
	for _, path := range []string{"../../secret", filepath.Join(outside, "secret"), "/etc/hostname", "out", "absolute", "folder/secret"} {
		if got, err := c.text(path); !errors.Is(err, errOutside) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		if ok, err := c.exists(path); !errors.Is(err, errOutside) {
			t.Errorf("%s exists: %v, %v", path, ok, err)
		}
	}
	for _, path := range []string{"fifo", "folder", "none", "nowhere", "../shop"} { // and it does not wait for a writer
		if got, err := c.text(path); err == nil {
			t.Errorf("%s: %q", path, got)
		}
	}
}
