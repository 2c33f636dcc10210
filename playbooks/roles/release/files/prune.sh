#!/bin/sh
# prune.sh ROOT KEEP [ID…] removes all but the KEEP youngest releases under ROOT, and prints what it removed.
# Those that a slot points at and those named are never removed.
set -eu
root=$1 keep=$2
shift 2
protected=" $* "
for slot in "$root"/slot-?; do
  if target=$(readlink "$slot"); then
    protected="$protected${target##*/} "
  fi
done
cd "$root/releases"
# shellcheck disable=SC2012 # the names are digests
ls -1t | tail -n "+$((keep + 1))" | while read -r id; do
  case $protected in
    *" $id "*) ;;
    *) rm -rf -- "${root:?}/releases/$id" && echo "$id" ;;
  esac
done
