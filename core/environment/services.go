package environment

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/tail"
)

// ExecCommand returns the command line that runs a program in the environment and in the sandbox of a service's release: on a
// host, or without a name on the first of production.
func (e *Environment) ExecCommand(ctx context.Context, service, host string, terminal bool, program ...string) ([]string, error) {
	if !serviceName.MatchString(service) {
		return nil, fmt.Errorf("%q is not the name of a service", service)
	}
	if host == "" {
		hosts, err := e.Hosts()
		if err != nil {
			return nil, err
		}
		first, ok := withRole(hosts, "production")
		if !ok {
			return nil, errors.New("the environment has no host of the role production; name one with --host")
		}
		host = string(first.Name)
	}
	sudo := "sudo -n "
	if h, err := e.Host(host); err == nil && h.User == "root" {
		sudo = ""
	}
	run := "/opt/" + service + "/exec"
	words := []string{"exec", sudo + run, "current"}
	for _, word := range program {
		words = append(words, remote.Quote(word))
	}
	line, err := e.SSHCommand(ctx, host, fmt.Sprintf(`if [ -e %[1]s ]; then %[2]s; fi; echo "%[3]s has no service %[4]s; it has: $(cd /opt && echo */exec)" >&2; exit 1`,
		run, strings.Join(words, " "), host, service))
	if err == nil && terminal {
		line = slices.Insert(line, 1, "-t")
	}
	return line, err
}

var serviceName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Tail merges what services log on hosts; on all of them without a name.
func (e *Environment) Tail(ctx context.Context, o tail.Options, host string, each func(tail.Line), say func(string)) (err error) {
	if o.Service != "" && !serviceName.MatchString(o.Service) {
		return fmt.Errorf("%q is not the name of a service", o.Service)
	}
	if o.Hosts, err = e.Hosts(); err != nil {
		return err
	}
	if host != "" {
		h, err := e.Host(host)
		if err != nil {
			return err
		}
		o.Hosts = []core.Host{h}
	}
	client, err := e.SSH()
	if err != nil {
		return err
	}
	return tail.Run(ctx, client, o, each, say)
}
