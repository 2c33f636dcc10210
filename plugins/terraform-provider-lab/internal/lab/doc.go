// Package lab makes and removes the hosts of a lab: systemd-nspawn machines on this machine, each with its own
// network namespace, cgroup, disk and host key, side by side on one bridge per lab. It runs as root inside
// terraform-provider-lab, which is its only importer. Everything it makes is named after the lab, so that what
// an interrupted run left behind can be found and removed without any state.
//
// A host's mounts and its network namespace live in a mount namespace that belongs to the host's processes
// (see host.sh): they end with its last process. What has to be removed by hand is little: cgroups, one link
// per host, the folder, and the bridge once no host is on it.
package lab
