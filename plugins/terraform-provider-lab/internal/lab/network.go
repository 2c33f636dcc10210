package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ParseAddress parses an IPv4 address for a host.
func ParseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || a.As4()[3] < 2 || a.As4()[3] > 254 {
		return netip.Addr{}, fmt.Errorf("address %q: want an IPv4 address that ends in 2 to 254; .1 is this machine", s)
	}
	return a, nil
}

// ParseSubnet parses a subnet for a lab.
func ParseSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || p.Bits() != 24 || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("subnet %q: want an IPv4 subnet of 256 addresses, such as 172.30.5.0/24", s)
	}
	return p, nil
}

// gateway is this machine's address in the lab: the first of the subnet.
func gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// subnetOf returns the /24 of an address; every lab's subnet is a /24.
func subnetOf(address netip.Addr) netip.Prefix {
	return netip.PrefixFrom(address, 24).Masked()
}

// connect attaches the host's veth pair to the lab's bridge, and makes the bridge for the first host. The other end stays
// on this machine as h.peer until host.sh moves it into the host.
func connect(ctx context.Context, h host, subnet netip.Prefix) error {
	lock, err := lockDir(ctx, h.lab.dir())
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	bridge := h.lab.bridge()
	if !linkExists(bridge) {
		if err := checkFree(subnet); err != nil {
			return err
		}
		err := ip(ctx,
			"link add "+bridge+" type bridge",
			"address add "+gateway(subnet).String()+"/24 dev "+bridge,
			"link set "+bridge+" up")
		if err != nil {
			return errors.Join(fmt.Errorf("make bridge: %w", err), removeLink(context.WithoutCancel(ctx), bridge))
		}
	}
	err = ip(ctx,
		"link add "+h.link()+" type veth peer name "+h.peer(),
		"link set "+h.link()+" master "+bridge+" up")
	if err != nil {
		return fmt.Errorf("connect %s: %w", h.name, err)
	}
	return nil
}

// disconnect removes the host's veth pair, including the end inside the host.
func disconnect(ctx context.Context, h host) error {
	return errors.Join(removeLink(ctx, h.link()), removeLink(ctx, h.peer()))
}

// removeBridge removes the lab's bridge if no host is attached. The caller holds the lab's lock.
func removeBridge(ctx context.Context, l ID) error {
	ports, err := os.ReadDir(filepath.Join("/sys/class/net", l.bridge(), "brif"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil || len(ports) > 0 {
		return err
	}
	return removeLink(ctx, l.bridge())
}

func removeLink(ctx context.Context, name string) error {
	if !linkExists(name) {
		return nil
	}
	if err := ip(ctx, "link delete "+name); err != nil && linkExists(name) {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}

func linkExists(name string) bool {
	_, err := os.Lstat(filepath.Join("/sys/class/net", name))
	return err == nil
}

// ip runs ip(8) commands in order and stops at the first error.
func ip(ctx context.Context, commands ...string) error {
	cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// checkFree fails if this machine already has a route to the subnet.
func checkFree(subnet netip.Prefix) error {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return checkRoutes(f, subnet)
}

func checkRoutes(table io.Reader, subnet netip.Prefix) error {
	routes, err := parseRoutes(table)
	if err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	for _, r := range routes {
		if r.prefix.Bits() > 0 && r.prefix.Overlaps(subnet) {
			return fmt.Errorf("subnet %s is in use on this machine: %s has a route to %s; choose another with the variable subnet",
				subnet, r.device, r.prefix)
		}
	}
	return nil
}

type route struct {
	device string
	prefix netip.Prefix
}

// parseRoutes reads /proc/net/route: addresses are hexadecimal, least significant byte first.
func parseRoutes(r io.Reader) ([]route, error) {
	var routes []route
	lines := bufio.NewScanner(r)
	lines.Scan() // header
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 {
			continue
		}
		destination, err := hex.DecodeString(f[1])
		if err != nil || len(destination) != 4 {
			return nil, fmt.Errorf("unexpected destination %q", f[1])
		}
		mask, err := hex.DecodeString(f[7])
		if err != nil || len(mask) != 4 {
			return nil, fmt.Errorf("unexpected mask %q", f[7])
		}
		slices.Reverse(destination)
		bits := 0
		for _, b := range mask {
			for ; b != 0; b &= b - 1 {
				bits++
			}
		}
		routes = append(routes, route{f[0], netip.PrefixFrom(netip.AddrFrom4([4]byte(destination)), bits)})
	}
	return routes, lines.Err()
}
