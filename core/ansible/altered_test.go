package ansible

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAlteredUnits has units of a release with two slots, of which one serves, and of an agent: what must run is missed, and
// nothing else.
func TestAlteredUnits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const process, task = "[Unit]\nPartOf=shop@%i.service\n[Service]\nType=exec\n", "[Service]\nType=oneshot\n"
	for name, text := range map[string]string{
		"units/shop@.service": "[Service]\n", "units/shop-worker@a.service": process, "units/shop-worker@b.service": process,
		"units/shop-migrate@a.service": task, "units/shop-migrate@b.service": task, "units/troop-agent@doctor.service": "[Service]\n", "units/storage.service": "[Service]\n",
		// Nothing is active, slot a is enabled.
		"bin/systemctl": "#!/bin/sh\ncase $1 in is-active) echo inactive; exit 3 ;; is-enabled) [ $3 = shop@a.service ] ;; esac\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := strings.NewReplacer("/etc/troop/installed", dir+"/installed", "/etc/systemd/system", dir+"/units").Replace(altered)
	c := exec.CommandContext(t.Context(), "sh", "-c", "mkdir "+dir+"/installed "+dir+"/units/multi-user.target.wants && cd "+dir+
		" && ln -s $PWD/units/shop@.service units/multi-user.target.wants/shop@a.service && sha256sum $PWD/units/*.service >installed/all.sha256; "+script)
	c.Env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"))
	out, err := c.CombinedOutput()
	want := "shop-worker@a.service is inactive\nshop@a.service is inactive\nstorage.service is inactive\ntroop-agent@doctor.service is inactive\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\ngot  %q\nwant %q", err, out, want)
	}
}
