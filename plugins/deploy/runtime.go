package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// runtimes are, by program of a command, the runtime and how many parts of its version must be equal on the hosts and
// where the release was built.
var runtimes = map[string]struct {
	program string
	parts   int
}{
	"node": {"node", 1}, "npm": {"node", 1}, "npx": {"node", 1},
	"python": {"python3", 2}, "python3": {"python3", 2},
}

// checkRuntime refuses a release that was built with another version of its runtime than the hosts have, unless the
// manifest says that it runs there. It changes nothing.
func (d *deployer) checkRuntime(ctx context.Context, r state.Release) error {
	need, ok := runtimes[path.Base(r.Command[0])]
	if !ok {
		return nil
	}
	a, err := d.job.Artifact(ctx, sdk.Digest(r.Artifact))
	if err != nil {
		return err
	}
	comment, err := readComment(a.Path)
	if err != nil {
		return fmt.Errorf("read the artifact: %w", err)
	}
	built := ""
	for part := range strings.SplitSeq(comment, ", ") {
		if program, version, _ := strings.Cut(part, " "); program == need.program {
			built = release(version, need.parts)
		}
	}
	if built == "" && len(d.c.Service.Runtime) == 0 {
		return nil
	}
	seats := d.present(d.all())
	results, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: hosts(seats), Vars: map[string]any{
		"release_step": "runtime", "release_service": d.name, "release_slots": d.slots(seats, state.Seat.Idle), "release_runtime": need.program,
	}})
	if err != nil && (cancelled(ctx, err) || len(d.unreachable(results)) == 0) {
		return d.orExplained(ctx, results, err)
	}
	var refused []string
	for _, result := range results {
		text, ok := result.Facts["stdout"].(string)
		if !ok {
			continue
		}
		version := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(text), "Python "), "v")
		has := release(version, need.parts)
		if has != built && !slices.Contains(d.c.Service.Runtime, has) {
			refused = append(refused, fmt.Sprintf("%s has %s", result.Host, orElse(version, "none")))
		}
	}
	if len(refused) == 0 {
		return nil
	}
	slices.Sort(refused)
	if built == "" {
		return sdk.Failf("the release runs on %s %s: %s", need.program, strings.Join(d.c.Service.Runtime, ", "), strings.Join(refused, "; "))
	}
	return sdk.Failf("the release was built with %s %s: %s; build it with the version of the hosts, or say in the service block on which it runs: runtime = [%q]",
		need.program, built, strings.Join(refused, "; "), built)
}

// release is the beginning of a version.
func release(version string, parts int) string {
	all := strings.Split(version, ".")
	return strings.Join(all[:min(parts, len(all))], ".")
}

// readComment returns the comment of an archive, where the stage build says with which runtimes it was built. Other
// archives have none.
func readComment(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return "", err
	}
	defer z.Close()
	h, err := tar.NewReader(z).Next()
	switch {
	case errors.Is(err, io.EOF):
		return "", nil
	case err != nil:
		return "", err
	case h.Typeflag != tar.TypeXGlobalHeader:
		return "", nil
	}
	return h.PAXRecords["comment"], nil
}
