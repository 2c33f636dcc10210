package remote

import (
	"slices"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// Options are the options with which OpenSSH's programs use this client's key and pinned host keys and ignore the user's
// configuration.
func (c *Client) Options() []string {
	argv := []string{"-F", "none"}
	for _, k := range c.keys() {
		argv = append(argv, "-o", "IdentityFile="+quoteOption(k.file))
	}
	return append(argv,
		"-o", "IdentitiesOnly=yes",
		"-o", "IdentityAgent=none",
		"-o", "UserKnownHostsFile="+quoteOption(c.known.file),
		"-o", "GlobalKnownHostsFile=none",
		"-o", "StrictHostKeyChecking=yes",
		"-o", "UpdateHostKeys=no",
		"-o", "PasswordAuthentication=no",
		"-o", "KbdInteractiveAuthentication=no",
	)
}

// Command returns the argument list, starting with "ssh", of an interactive shell or a command on the host. The host's
// key must be pinned, which any earlier connection does. own are files with keys of the user, which are tried before this
// client's, also through the user's agent.
func (c *Client) Command(h core.Host, own []string, command ...string) []string {
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
	argv = slices.Concat(argv, c.Options(), []string{"-p", strconv.Itoa(port), "-l", h.User, "--", h.Address})
	return append(argv, command...)
}

// quoteOption quotes a path so that ssh_config's parser reads it as one word without expansion.
func quoteOption(path string) string {
	return `"` + strings.ReplaceAll(path, "%", "%%") + `"`
}
