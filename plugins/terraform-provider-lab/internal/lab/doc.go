// Package lab makes and removes the hosts of a lab: systemd-nspawn machines on this machine, each with its own network
// namespace, cgroup, disk and host key, on one bridge per lab. It runs as root in terraform-provider-lab, its only importer.
// All names contain the lab's name, so that leftovers of an interrupted run can be found and removed without any state.
//
// A host's mounts and network namespace belong to a mount namespace of the host's processes (see host.sh) and end with its
// last process. Only cgroups, one link per host, the folder, and the bridge of the last host must be removed explicitly.
package lab
