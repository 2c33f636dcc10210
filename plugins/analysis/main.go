// Command troop-plugin-analysis is the analysis stage: gates on linters, the comment ratio, and secrets in the tree. troop
// starts it for each analysis stage of a run, and for `troop analysis scan`, which the pre-commit hook calls.
package main

import "github.com/seed-b96de936/troop/plugins/sdk"

func main() { sdk.Serve(stage) }
