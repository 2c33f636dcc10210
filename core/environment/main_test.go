package environment

import (
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

func TestMain(m *testing.M) {
	proc.Main()
	if played() {
		return
	}
	m.Run()
}
