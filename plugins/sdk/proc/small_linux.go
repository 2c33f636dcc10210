package proc

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// unmapProgram takes the pages of this program's code out of the process. Those that it needs are mapped again on their next use,
// from the page cache; most were needed for its start only.
func unmapProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for s := bufio.NewScanner(maps); s.Scan(); {
		var from, to uintptr
		var mode string
		if !strings.HasSuffix(s.Text(), " "+program) {
			continue
		}
		if _, err := fmt.Sscanf(s.Text(), "%x-%x %s", &from, &to, &mode); err == nil && mode[1] == '-' { // never what was written to
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
