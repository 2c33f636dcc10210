// Command troop-plugin-maintenance is the stage that keeps disks from filling. Its agent moves logs and dumps selected by
// rules to the environment's storage host or a bucket, and removes them locally only after the stored copy has been read back and
// verified. troop starts it: as a stage in a run, as an agent on production, canary and data hosts.
//
// Package rule selects files, file works on folders that others write to, storage stores files on the storage host, journal
// records the progress of each file, and move performs all steps. This package combines them, raises alerts and serves the
// operator's actions.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
