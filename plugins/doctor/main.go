// Command troop-plugin-doctor is the stage that keeps a host responsive. Its agent samples every process, alerts when
// the host or one process uses too much, and treats the processes that do: never root's, the system's or an
// administrator's. troop starts it: as a stage in a run, as an agent on production and canary hosts.
//
// A sample (package sample) is held against limits (limit); what becomes of a hog is decided (ladder) by what it is
// (process) and by what is never touched (protect). All of that touches nothing: only this package acts, so that the
// rehearse action replays a recording (record) through the same code.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
