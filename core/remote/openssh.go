package remote

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// Options are the options with which OpenSSH's programs reach hosts with this client's key and pinned host keys and ignore
// the user's configuration, but for what they need of it for given hosts.
func (c *Client) Options(ctx context.Context, hosts ...core.Host) ([]string, error) {
	file, err := c.configure(ctx, hosts)
	if err != nil {
		return nil, err
	}
	argv := []string{"-F", file}
	for _, k := range c.keys() {
		argv = append(argv, "-o", "IdentityFile="+quoteOption(k.file))
	}
	if file == "none" {
		argv = append(argv, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")
	}
	return append(argv,
		"-o", "UserKnownHostsFile="+quoteOption(c.known.file),
		"-o", "GlobalKnownHostsFile=none",
		"-o", "StrictHostKeyChecking=yes",
		"-o", "UpdateHostKeys=no",
		"-o", "PasswordAuthentication=no",
		"-o", "KbdInteractiveAuthentication=no",
	), nil
}

// Command returns the argument list, starting with "ssh", of an interactive shell or a command on the host. The host's
// key must be pinned, which any earlier connection does. own are files with keys of the user, which are tried before this
// client's, also through the user's agent.
func (c *Client) Command(ctx context.Context, h core.Host, own []string, command ...string) ([]string, error) {
	options, err := c.Options(ctx, h)
	if err != nil {
		return nil, err
	}
	port := h.Port
	if port == 0 {
		port = 22
	}
	argv := []string{"ssh"}
	if len(own) > 0 {
		argv = append(argv, "-o", "IdentityAgent=SSH_AUTH_SOCK") // the first one counts
	}
	for _, file := range own {
		argv = append(argv, "-o", "IdentityFile="+quoteOption(file))
	}
	argv = slices.Concat(argv, options, []string{"-p", strconv.Itoa(port), "-l", h.User, "--", h.Address})
	return append(argv, command...), nil
}

// quoteOption quotes a path so that ssh_config's parser reads it as one word without expansion.
func quoteOption(path string) string {
	return `"` + strings.ReplaceAll(path, "%", "%%") + `"`
}
