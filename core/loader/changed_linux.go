package loader

import "syscall"

// changed is when a file or what is known of it last changed, in ns.
func changed(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }
