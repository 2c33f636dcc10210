// Command troop-plugin-build is the build stage: it runs a project's own install and build commands in the clean
// checkout of a commit, and packs what they leave into an artifact that is named by its content. The core starts
// it once for each build stage of a run.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
