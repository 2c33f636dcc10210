#!/bin/sh
# forget-moved.sh CONFIG STATE drops from HAProxy's saved state every server that the configuration does not have at that
# address and port. HAProxy would take the port from the state, and a server at a new address for healthy.
set -eu
config=$1 state=$2
[ -f "$state" ] || exit 0
new=$(mktemp "$state.XXXXXX")
trap 'rm -f "$new"' EXIT
awk '
  NR == FNR { if ($1 == "backend") backend = $2; if ($1 == "server") at[backend "/" $2] = $3; next }
  # The columns are: 2 backend, 4 server, 5 address, 18 name that resolves to the address, 19 port.
  NF >= 19 && $1 != "#" { have = at[$2 "/" $4]; if (have != $5 ":" $19 && have != $18 ":" $19) next }
  { print }
' "$config" "$state" >"$new"
cmp -s "$new" "$state" && exit 0
chmod 640 "$new"
mv "$new" "$state"
