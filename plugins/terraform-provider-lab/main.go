// Command terraform-provider-lab is the Terraform provider of terraform/lab: hosts on one machine, each a systemd-nspawn
// machine with its own network, disk, host key and limits. Terraform starts it. People run it only to list and remove
// what labs left on the machine.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/seed-b96de936/troop/plugins/sdk/proc"
	"github.com/seed-b96de936/troop/plugins/terraform-provider-lab/internal/lab"
)

const (
	address = "troop.local/troop/lab" // as in required_providers
	usage   = `usage: terraform-provider-lab COMMAND
  base           make the tree that hosts start from
  list           everything that labs have on this machine, as JSON
  check          check this machine's prerequisites; standard input is {"folder": …, "variables": {…}}
  sweep LAB      remove a lab, whatever state its hosts are in
  sweep --all    remove every lab
Without a command it is a Terraform provider.
`
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(args) == 0:
		stop() // Terraform stops us through the protocol; ignore signals to its process group
		err = serve(os.Getppid())
	case len(args) == 1 && args[0] == "base":
		_, err = lab.EnsureBase(ctx, stdout)
	case len(args) == 1 && args[0] == "list":
		err = list(stdout)
	case len(args) == 1 && args[0] == "check":
		err = check(stdin, stdout)
	case len(args) == 2 && args[0] == "sweep":
		err = sweep(ctx, args[1], stdout)
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// serve ends when Terraform has ended for any reason: a surviving provider could still make hosts that are in no state
// while the next apply removes them.
func serve(terraform int) error {
	go func() {
		proc.WaitParent(terraform)
		os.Exit(1) // aborts running work; the next apply cleans up
	}()
	return providerserver.Serve(context.Background(), func() provider.Provider { return labProvider{} },
		providerserver.ServeOpts{Address: address})
}

func list(stdout io.Writer) error {
	things, err := lab.List()
	if err != nil {
		return err
	}
	enc := json.NewEncoder(stdout)
	for _, thing := range things {
		if err := enc.Encode(thing); err != nil {
			return err
		}
	}
	return nil
}

func sweep(ctx context.Context, name string, stdout io.Writer) error {
	var removed []string
	var err error
	if name == "--all" {
		removed, err = lab.SweepAll(ctx)
	} else if err = lab.ID(name).Validate(); err == nil {
		removed, err = lab.Sweep(ctx, lab.ID(name))
	}
	for _, host := range removed {
		fmt.Fprintln(stdout, "removed", host)
	}
	return err
}
