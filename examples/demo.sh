#!/usr/bin/env bash
# `make demo` and `make demo-down`: runs the whole pipeline for the HEAD commit in a lab.
set -euo pipefail
cd "$(dirname "$0")/.."
manifest=examples/storefront/pipeline.hcl
# The lab's storage host runs a mail server; to read mail: troop ssh … storage-1 -- cat /var/mail/troop/…
export OPS_SMTP_URL="${OPS_SMTP_URL:-smtp://storage-1:1025/?from=troop@lab.example&to=ops@lab.example}"

server=examples/storefront/.troop/server # its own files, its log and its process

# serve starts a server with pages on which to watch what follows, and says where.
serve() {
  stop_server
  mkdir -p "$server"
  for listen in 127.0.0.1:8080 127.0.0.1:0; do # any free port, when that one is in use
    setsid bin/troop serve "$manifest" --listen "$listen" --data "$server" >"$server/log" 2>&1 </dev/null &
    echo "$!" >"$server/pid"
    until grep -qs '^troop serves' "$server/log"; do
      kill -0 "$(cat "$server/pid")" 2>/dev/null || continue 2
      sleep 0.1
    done
    sleep 0.2 # the second line, if there is one
    echo "Watch it in a browser: $(sed -n 's/^troop serves .* at \(http[^;]*\);.*/\1/p' "$server/log")"
    sed -n 's/^nobody owns .* at \(http.*\)/First choose a password: \1/p' "$server/log"
    return
  done
  echo "troop serve did not start:" >&2
  cat "$server/log" >&2
  return 1
}

# stop_server ends the server that serve started.
stop_server() {
  pid=$(cat "$server/pid" 2>/dev/null) || return 0
  if [[ $(readlink "/proc/$pid/exe") == "$PWD/bin/troop"* ]]; then
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  fi
  rm -f "$server/pid"
}

up() {
  serve
  bin/troop apply "$manifest" --env lab --yes
  router=$(bin/troop hosts "$manifest" --env lab --json | jq -r '.[] | select(.role == "router") | .address')

  # Some traffic, so that the canary is judged on requests.
  (while sleep 0.05; do curl -s -o /dev/null --max-time 5 "http://$router/" || true; done) &
  traffic=$!
  trap 'kill "$traffic" 2>/dev/null || true' EXIT

  forced=()
  if bin/troop runs "$manifest" --json | jq -e 'any(.status == "passed")' >/dev/null; then
    forced=(--force) # a second demo shows that configuring again changes nothing
  fi
  bin/troop run "$manifest" --env lab "${forced[@]}"

  kill "$traffic" 2>/dev/null || true
  cat <<END

The storefront answers at http://$router/

Try next:
  for i in {1..6}; do curl -sI http://$router/ | grep -i x-troop-pool; done
  bin/troop flag set $manifest new-feature true --env lab
  bin/troop deploy status $manifest --env lab
  bin/troop deploy weights $manifest 1:1 --env lab
  bin/troop show $manifest
  bin/troop events $manifest --env lab
  make demo-down
END
}

down() {
  stop_server
  rm -rf "$server"
  bin/troop destroy "$manifest" --env lab --yes
}

case "${1:-}" in
  up | down) "$1" ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
