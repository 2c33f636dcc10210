// Command troop-plugin-maintenance is the stage that keeps disks from filling. Its agent moves logs and dumps that a
// rule names to the environment's storage host, and removes them here only when what arrived there has been read back
// and is the same. troop starts it: as a stage in a run, as an agent on production and canary hosts.
//
// Package rule says what may go, file works on folders that others write to, storage keeps files on the storage host,
// journal remembers how far each file has come, and move takes one through all steps. This package wires them, tells
// people, and serves the operator's actions.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
