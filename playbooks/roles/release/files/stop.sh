#!/bin/sh
# stop.sh SERVICE [SLOT…] stops the slots of a service other than those named, and prints what it stopped.
set -eu
service=$1
shift
keep=" $* "
for link in /opt/"$service"/slot-?; do
  slot=${link##*-} unit="$service@${link##*-}.service"
  case $keep in *" $slot "*) continue ;; esac
  [ -L "$link" ] || continue
  if [ "$(systemctl is-active "$unit")" != inactive ] || systemctl -q is-enabled "$unit"; then
    systemctl -q disable --now "$unit"
    echo "$unit"
  fi
done
