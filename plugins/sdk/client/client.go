// Package client is the core's side of the plugin protocol: it starts a plugin binary, calls it, serves the capabilities
// that it declares, and explains how one died. Only core/loader and sdktest import it. Its API exposes neither go-plugin
// nor gRPC.
package client

import (
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// Protocol is the core's protocol version.
const Protocol = wire.Version

// serve serves, for one call, the capabilities that the called face declares.
func (p *Plugin) serve(c contract.Capabilities, declared []contract.Capability) (broker uint32, stop func(), err error) {
	s := wire.Serve(only(c, p.desc.Name, declared))
	return p.link.Serve(func(r grpc.ServiceRegistrar) { wire.RegisterCapabilitiesServer(r, s) })
}

// only refuses undeclared capabilities, even if the plugin's SDK does not check them.
func only(c contract.Capabilities, plugin string, declared []contract.Capability) contract.Capabilities {
	return contract.Guard(c, func(need contract.Capability) error {
		if slices.Contains(declared, need) {
			return nil
		}
		return &contract.Error{Kind: contract.ErrRefused, Text: fmt.Sprintf("plugin %s does not declare the capability %q", plugin, need)}
	})
}
