// Command troop-plugin-maintenance is the stage that keeps disks from filling. Its agent moves logs and dumps
// that a rule names to the environment's storage host, and removes them here only when what arrived there has
// been read back and is the same. troop starts it: as a stage in a run, as an agent on production and canary hosts.
//
// Which names a rule may hold is decided in paths.go, which files may be taken in file.go, and in which order
// one is moved in mover.go.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
