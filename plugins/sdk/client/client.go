// Package client is the core's half of the plugin protocol: it starts a plugin binary, calls its faces, serves
// it the capabilities that it declares, and explains in plain words how one died. Only core/loader and sdktest
// import it. Neither go-plugin nor gRPC shows in its surface.
package client

import (
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// Protocol is the version of the protocol that the core speaks.
const Protocol = wire.Version

// serve offers the capabilities that a face of the plugin declares, for one call.
func (p *Plugin) serve(c contract.Capabilities, declared []contract.Capability) (broker uint32, stop func(), err error) {
	s := wire.Serve(only(c, p.desc.Name, declared))
	return p.link.Serve(func(r grpc.ServiceRegistrar) { wire.RegisterCapabilitiesServer(r, s) })
}

// only refuses what the plugin does not declare, whether its SDK looks at that or not.
func only(c contract.Capabilities, plugin string, declared []contract.Capability) contract.Capabilities {
	return contract.Guard(c, func(need contract.Capability) error {
		if slices.Contains(declared, need) {
			return nil
		}
		return &contract.Error{Kind: contract.ErrRefused, Text: fmt.Sprintf("plugin %s does not declare the capability %q", plugin, need)}
	})
}
