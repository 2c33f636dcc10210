package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/seed-b96de936/troop/plugins/terraform-provider-lab/internal/lab"
)

// check implements the command check for preflight: it reads the wanted lab and prints one lab.Check per line.
func check(stdin io.Reader, stdout io.Writer) error {
	var request struct {
		Folder    string // Terraform's working folder
		Variables struct {
			Subnet string
			Hosts  map[string]struct{ Memory, Disk string }
		}
	}
	if err := json.NewDecoder(stdin).Decode(&request); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	name, subnet := follows(request.Folder)
	w := lab.Wanted{Lab: name, Hosts: map[string]lab.Size{}}
	var err error
	if w.Subnet, err = lab.ParseSubnet(cmp.Or(request.Variables.Subnet, subnet)); err != nil {
		return err
	}
	for name, h := range request.Variables.Hosts {
		var size lab.Size
		if size.Memory, err = lab.ParseSize(h.Memory); err != nil {
			return fmt.Errorf("host %s: %w", name, err)
		}
		if size.Disk, err = lab.ParseSize(h.Disk); err != nil {
			return fmt.Errorf("host %s: %w", name, err)
		}
		w.Hosts[name] = size
	}
	checks, err := lab.Examine(w)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(stdout)
	for _, c := range checks {
		if err := enc.Encode(c); err != nil {
			return err
		}
	}
	return nil
}

// follows computes the lab's name, and its subnet unless one is given, from the folder, like terraform/lab.
func follows(folder string) (name lab.ID, subnet string) {
	sum := sha256.Sum256([]byte(folder))
	return lab.ID(hex.EncodeToString(sum[:4])), fmt.Sprintf("10.%d.%d.0/24", 64+sum[4]%64, sum[5])
}
