package proc

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	smallFirst = time.Second // pause until the program has begun to wait; doubles
	smallMost  = 15 * time.Second
	// smallGrowth is by how many per cent the heap grows until the next collection. Go's 100 means 4 MiB at least, and an agent
	// lives on one or two.
	smallGrowth = 50
)

// StaySmall keeps the memory of a program small that mostly waits, on a host that is there for others: until ctx ends, it gives
// back what was used once, such as for the start.
func StaySmall(ctx context.Context) {
	debug.SetGCPercent(smallGrowth)
	go func() {
		for pause := smallFirst; ; pause = min(2*pause, smallMost) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			debug.FreeOSMemory()
			unmapProgram()
		}
	}()
}
