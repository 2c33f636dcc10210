//go:build !lab

package terraform_test

import "testing"

func TestMain(m *testing.M) {
	if !applied() {
		m.Run()
	}
}
