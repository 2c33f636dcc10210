#!/bin/sh
# host.sh DIR BASE LINK ADDRESS MACHINE NAME CGROUP... becomes one host. It is started in a mount namespace of
# its own, so that the host's mounts and its network namespace end with its last process, whoever kills it.
set -eu
dir=$1 base=$2 link=$3 address=$4 machine=$5 name=$6
shift 6

for cgroup in "$@"; do
	echo $$ >"$cgroup/cgroup.procs"
done
mount --make-rslave /
mount -t tmpfs -o mode=755 tmpfs /run # nspawn's own bookkeeping must not outlive the host either
mount -o loop,noatime,discard "$dir/disk.img" "$dir/disk"
mount -t overlay -o "lowerdir=$base,upperdir=$dir/disk/upper,workdir=$dir/disk/work" overlay "$dir/root"

unshare --net="$dir/netns" true
ip link set "$link" netns "$dir/netns" name host0
nsenter --net="$dir/netns" ip -batch - <<EOF
link set lo up
address add $address/24 dev host0
link set host0 up
EOF

export SYSTEMD_NSPAWN_LOCK=0      # the provider holds the host's lock
export SYSTEMD_NSPAWN_TMPFS_TMP=0 # /tmp is on the host's disk, as on other Debian hosts
exec systemd-nspawn --quiet --boot --directory="$dir/root" --machine="$machine" --hostname="$name" \
	--network-namespace-path="$dir/netns" --register=no --keep-unit --settings=no --console=pipe \
	--link-journal=no --resolv-conf=off --timezone=off --kill-signal=SIGRTMIN+3
