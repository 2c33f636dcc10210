#!/bin/sh
# /opt/SERVICE/exec SLOT PROGRAM… runs a program with the environment and in the sandbox of the release in a slot, or in
# current: the one that serves, in production if the host is in both pools. It ends as the program does, and has a terminal if its
# caller has one.
set -eu
root=${0%/*} slot=$1
service=${root##*/}
shift
if [ "$slot" = current ]; then
  slot=$(readlink "$root/current") || { echo "$service serves nothing on this host" >&2; exit 1; }
  slot=${slot#slot-}
fi
set -- -- "$@"
# What the unit says of its service, in its order, but for how it starts and ends.
properties=$(systemctl cat "$service@$slot.service" | sed -n '
  /^\[/h
  G
  /\n\[Service\]$/!d
  s/\n.*//
  /^[A-Z]/!d
  /^\(Type\|Exec[A-Za-z]*\|Restart[A-Za-z]*\|KillMode\|KillSignal\|TimeoutStopSec\)=/d
  s/%i/'"$slot"'/g
  p' | tac)
while IFS= read -r property; do
  set -- "--property=$property" "$@"
done <<END
$properties
END
if [ -t 0 ] && [ -t 1 ]; then set -- --pty "$@"; else set -- --pipe "$@"; fi
exec systemd-run --quiet --collect --wait --service-type=exec --unit="$service-exec-$$" "$@"
