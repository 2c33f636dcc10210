// Command troop-plugin-doctor is the stage that keeps a host responsive. Its agent samples every process, alerts when
// the host, one process or all processes of a user together use too much, and treats the processes that do: never root's,
// the system's or an administrator's. troop starts it: as a stage in a run, as an agent on production and canary hosts.
//
// Package sample takes samples, limit compares them with limits, and ladder decides on steps, based on the facts of package
// process and the rules of protect. These packages have no side effects; only this package acts. So the action rehearse can
// replay a recording (record) through the same code.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
