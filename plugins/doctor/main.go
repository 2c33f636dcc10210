// Command troop-plugin-doctor is the stage that keeps a host responsive. Its agent samples every process, tells
// when the host or one process uses too much, and treats a process that hogs: never one of root, of the system
// or of an administrator. troop starts it: as a stage in a run, as an agent on production and canary hosts.
//
// Sampling (sampler.go, host.go), judging (window.go, ladder.go, protect.go, alarm.go) and acting (act.go) are
// apart: what judges touches nothing, so that the rehearse action replays a recording through the same code.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
