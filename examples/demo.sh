#!/usr/bin/env bash
# `make demo` and `make demo-down`: runs the whole pipeline for the HEAD commit in a lab.
set -euo pipefail
cd "$(dirname "$0")/.."
manifest=examples/storefront/pipeline.hcl
# The lab's storage host runs a mail server; to read mail: troop ssh … storage-1 -- cat /var/mail/troop/…
export OPS_SMTP_URL="${OPS_SMTP_URL:-smtp://storage-1:1025/?from=troop@lab.example&to=ops@lab.example}"

up() {
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
  bin/troop destroy "$manifest" --env lab --yes
}

case "${1:-}" in
  up | down) "$1" ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
