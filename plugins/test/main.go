// Command troop-plugin-test is the test stage: it runs a project's own test command, reads the reports that it
// writes, names the tests that failed with file and line, and holds the coverage against its thresholds. The
// core starts it once for each test stage of a run.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
