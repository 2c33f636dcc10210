#!/bin/sh
# carry-state.sh CONFIG SAVED LOADED makes the servers' state that HAProxy loads of the one that the deploy agent saved: that
# of every server which the configuration still has at the same address and port. HAProxy would take the port from the
# state, and a server at a new address for healthy. The agent may save at any moment, so HAProxy loads a file of its own.
set -eu
awk '
  NR == FNR { if ($1 == "backend") backend = $2; if ($1 == "server") at[backend "/" $2] = $3; next }
  # The columns are: 2 backend, 4 server, 5 address, 18 name that resolves to the address, 19 port.
  NF >= 19 && $1 != "#" { have = at[$2 "/" $4]; if (have != $5 ":" $19 && have != $18 ":" $19) next }
  { print }
' "$1" "$2" >"$3"
