// Command troop-plugin-analysis is the analysis stage: linters, the ratio of comments, and secrets in the tree,
// each a gate. The core starts it once for each analysis stage of a run, and for `troop analysis scan`, which
// the pre-commit hook calls.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
