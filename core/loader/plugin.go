package loader

import (
	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
)

// plugin is a started plugin of a known digest.
type plugin struct {
	*client.Plugin
	digest core.Digest
}

var _ core.Plugin = (*plugin)(nil)

func (p *plugin) Digest() core.Digest { return p.digest }
