package ansible

import (
	"context"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// altered compares what a role has noted under /etc/troop/installed, lists of files as sha256sum writes them, with
// what is there. A unit that is among the files, or an enabled instance of one, has to run. It only reads.
const altered = `cd /etc/troop/installed 2>/dev/null || exit 0
cat -- *.sha256 2>/dev/null | LC_ALL=C sha256sum --check --quiet 2>/dev/null
units=/etc/systemd/system
{
  sed -n "s|^[0-9a-f]*  $units/||p" -- *.sha256 2>/dev/null | grep '[^@]\.service$'
  for link in $units/multi-user.target.wants/*; do
    [ -L "$link" ] && grep -qsxE "[0-9a-f]+  $(readlink "$link")" -- *.sha256 && echo "${link##*/}"
  done
} | sort -u | while read -r unit; do
  state=$(systemctl is-active "$unit") || echo "$unit is $state"
done
exit 0`

// Altered says what is no longer as a plugin's playbook has left it on a host: files that are missing or changed,
// units that do not run. Check mode cannot tell, for only the plugin knows the variables. It changes nothing.
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
