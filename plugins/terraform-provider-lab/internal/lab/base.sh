#!/bin/sh
# base.sh DIR PACKAGES makes the tree that every host starts from. It runs in mount and process namespaces of
# its own: when it is killed, nothing of it stays running or mounted.
set -eu
dir=$1 packages=$2
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

mount --make-rprivate /
debootstrap --variant=minbase --include="$packages" bookworm "$dir"

# A host runs what its role configures, and nothing by itself.
chroot "$dir" systemctl --quiet disable haproxy redis-server apt-daily.timer apt-daily-upgrade.timer \
	dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap systemd-pstore remote-fs.target
chroot "$dir" systemctl --quiet mask getty.target console-getty.service systemd-logind.service \
	systemd-networkd-wait-online.service
chroot "$dir" systemctl --quiet set-default multi-user.target

# Each host has an identity of its own.
rm -f "$dir"/etc/ssh/ssh_host_* "$dir"/etc/hostname "$dir"/var/lib/dbus/machine-id
: >"$dir"/etc/machine-id
: >"$dir"/etc/resolv.conf

rm -rf "$dir"/var/lib/apt/lists/* "$dir"/var/cache/apt/* "$dir"/var/cache/debconf/*-old "$dir"/debootstrap
find "$dir"/usr/share/doc "$dir"/usr/share/man "$dir"/usr/share/locale "$dir"/usr/share/info -mindepth 1 -delete
find "$dir"/var/log -type f -delete
