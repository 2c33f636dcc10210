#!/bin/sh
# drop.sh SERVICE SUFFIX [NAME…] removes the units SERVICE-NAMESUFFIX of a service's programs other than those named, and
# prints what it removed. A suffix is .timer or @SLOT.service.
set -eu
service=$1 suffix=$2
shift 2
keep=" $* "
for file in /etc/systemd/system/"$service"-*"$suffix"; do
  grep -qsx "# a program of $service" "$file" || continue
  unit=${file##*/}
  name=${unit#"$service"-}
  case $keep in
    *" ${name%"$suffix"} "*) ;;
    *) systemctl -q disable --now "$unit" 2>/dev/null && rm -f -- "$file" && echo "$unit" ;;
  esac
done
