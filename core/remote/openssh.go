package remote

import (
	"slices"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// Options are the settings under which OpenSSH's programs use this client's key and pinned host keys and nothing
// of the user's own.
func (c *Client) Options() []string {
	return []string{
		"-F", "none",
		"-o", "IdentityFile=" + quoteOption(c.key.file),
		"-o", "IdentitiesOnly=yes",
		"-o", "IdentityAgent=none",
		"-o", "UserKnownHostsFile=" + quoteOption(c.known.file),
		"-o", "GlobalKnownHostsFile=none",
		"-o", "StrictHostKeyChecking=yes",
		"-o", "UpdateHostKeys=no",
		"-o", "PasswordAuthentication=no",
		"-o", "KbdInteractiveAuthentication=no",
	}
}

// Command is the argument list that opens an interactive shell on the host, or runs a command there. Its first
// element is "ssh". The host's key must be pinned, which Wait or any other call does.
func (c *Client) Command(h core.Host, command ...string) []string {
	port := h.Port
	if port == 0 {
		port = 22
	}
	argv := slices.Concat([]string{"ssh"}, c.Options(), []string{"-p", strconv.Itoa(port), "-l", h.User, "--", h.Address})
	return append(argv, command...)
}

// quoteOption writes a path so that ssh_config's parser takes it as one word without expanding it.
func quoteOption(path string) string {
	return `"` + strings.ReplaceAll(path, "%", "%%") + `"`
}
