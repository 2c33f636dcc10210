// Package e2e takes the example through everything that troop promises, on real hosts: its tests are built with
// the tag "lab", need root, and use the binaries in bin/. `make test` runs them. The tests with the tag "aws" do so on a
// server that answers as AWS does; `make test-aws` runs them where it can. The tests without a tag,
// TestTree…, hold the source tree to its rules. Nothing imports it.
package e2e
