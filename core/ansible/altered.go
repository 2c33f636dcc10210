package ansible

import (
	"context"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// altered checks the lists in /etc/troop/installed, which roles write in the format of sha256sum, against the files. A
// listed unit, or an enabled instance of one, must run; a process of a release's slot only while the slot is enabled, and a
// task only when somebody starts it. It only reads.
const altered = `cd /etc/troop/installed 2>/dev/null || exit 0
cat -- *.sha256 2>/dev/null | LC_ALL=C sha256sum --check --quiet 2>/dev/null
units=/etc/systemd/system
{
  sed -n "s|^[0-9a-f]*  $units/||p" -- *.sha256 2>/dev/null | grep '[^@]\.service$' | while read -r unit; do
    grep -qsx Type=oneshot "$units/$unit" && continue
    of=$(sed -n 's/^PartOf=\(.*@\)%i\.service$/\1/p' "$units/$unit" 2>/dev/null)
    [ -n "$of" ] && ! systemctl is-enabled -q "$of${unit##*@}" && continue
    echo "$unit"
  done
  for link in $units/multi-user.target.wants/*; do
    [ -L "$link" ] && grep -qsxE "[0-9a-f]+  $(readlink "$link")" -- *.sha256 && echo "${link##*/}"
  done
} | sort -u | while read -r unit; do
  state=$(systemctl is-active "$unit") || echo "$unit is $state"
done
exit 0`

// Altered lists what has changed on a host since a plugin's playbook ran there: missing or changed files, stopped units.
// Ansible's check mode cannot find these, since only the plugin knows the variables. It changes nothing.
func (r *Runner) Altered(ctx context.Context, h core.Host) ([]string, error) {
	out, err := r.conf.SSH.RunRoot(ctx, h, altered, nil)
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if file, ok := strings.CutSuffix(line, ": FAILED open or read"); ok {
			line = file + " is missing"
		} else if file, ok := strings.CutSuffix(line, ": FAILED"); ok {
			line = file + " is not what was installed"
		}
		all = append(all, line)
	}
	return all, nil
}
