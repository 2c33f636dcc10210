#!/usr/bin/env bash
# `make demo`, `make demo-one` and `make demo-down`: runs the whole pipeline for the HEAD commit in a lab.
set -euo pipefail
cd "$(dirname "$0")/.."
manifest=examples/storefront/pipeline.hcl
domain=shop.example.com

server=examples/storefront/.troop/server # its own files, its log and its process
authority=examples/storefront/.troop/authority

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

# certify runs an ACME authority on the router: Pebble, which is made for tests, with a DNS server that knows every name
# as the router. It keeps the authority's root certificate here, and how curl uses it.
certify() {
  on=(bin/troop ssh "$manifest" --env "$environment" "$router" --)
  mkdir -p "$authority"
  if [[ ! -e $authority/ca.pem ]]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=authority \
      -addext subjectAltName=IP:127.0.0.1 -keyout "$authority/key.pem" -out "$authority/ca.pem" 2>"$authority/log"
  fi
  cat >"$authority/config.json" <<END
{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": "/srv/authority/ca.pem",
  "privateKey": "/srv/authority/key.pem", "httpPort": 80, "tlsPort": 443, "profiles": {"default": {"description": "for a demo", "validityPeriod": 86400}}}}
END
  if ! "${on[@]}" systemctl --quiet is-active authority; then
    cp .tools/pebble "$authority/pebble"
    cp .tools/pebble-challtestsrv "$authority/names"
    tar -C "$authority" -c ca.pem key.pem config.json pebble names | "${on[@]}" 'mkdir -p /srv/authority && tar -C /srv/authority --no-same-owner -x'
    "${on[@]}" "systemd-run -q --unit names /srv/authority/names -defaultIPv4 127.0.0.1 -defaultIPv6 '' -dnsserver 127.0.0.1:8053 -management 127.0.0.1:8055 \
      -http01 '' -https01 '' -tlsalpn01 '' -doh '' && systemd-run -q --unit authority -E PEBBLE_VA_NOSLEEP=1 /srv/authority/pebble \
      -config /srv/authority/config.json -dnsserver 127.0.0.1:8053 && until curl -sk -o /dev/null https://127.0.0.1:14000/dir; do sleep 0.2; done"
  fi
  "${on[@]}" curl -sk https://127.0.0.1:15000/roots/0 >"$authority/root.pem"
  printf 'cacert = "%s"\nconnect-to = "::%s:"\n' "$authority/root.pem" "$address" >"$authority/curl"
}

# mailbox names the mail server of the host with role storage; to read mail: troop ssh … HOST -- cat /var/mail/troop/…
mailbox() {
  export OPS_SMTP_URL="${OPS_SMTP_URL:-smtp://$1:1025/?from=troop@lab.example&to=ops@lab.example}"
}

up() {
  environment=$1
  mailbox "$2"
  serve
  bin/troop apply "$manifest" --env "$environment" --yes
  read -r router address < <(bin/troop hosts "$manifest" --env "$environment" --json |
    jq -r '.[] | select(.role == "router" or (.roles // [] | index("router"))) | "\(.name) \(.address)"')
  certify

  # Some traffic, so that the canary is judged on requests.
  (while sleep 0.05; do curl -skL -o /dev/null --max-time 5 --connect-to "::$address:" "http://$domain/" || true; done) &
  traffic=$!
  trap 'kill "$traffic" 2>/dev/null || true' EXIT

  forced=()
  if bin/troop runs "$manifest" --json | jq -e --arg env "$environment" 'any(.status == "passed" and .environment == $env)' >/dev/null; then
    forced=(--force) # a second demo shows that configuring again changes nothing
  fi
  bin/troop run "$manifest" --env "$environment" "${forced[@]}"

  kill "$traffic" 2>/dev/null || true
  cat <<END

The storefront answers at https://$domain/, which is $address.
Its authority's root certificate is $authority/root.pem.

Try next:
  shop="curl -sSK $authority/curl https://$domain/"
  for i in {1..6}; do \$shop -I | grep -i x-troop-pool; done
  bin/troop flag set $manifest new-feature true --env $environment
  bin/troop deploy status $manifest --env $environment
  bin/troop deploy weights $manifest 1:1 --env $environment
  bin/troop tail $manifest storefront --process worker --env $environment
  bin/troop show $manifest
  bin/troop events $manifest --env $environment
  make demo-down
END
}

down() {
  mailbox storage-1
  stop_server
  for environment in lab one; do bin/troop destroy "$manifest" --env "$environment" --yes; done
  rm -rf "$server" "$authority"
}

case "${1:-}${2:+ $2}" in
  "up lab") up lab storage-1 ;;
  "up one") up one web-1 ;;
  down) down ;;
  *) echo "usage: $0 up lab|up one|down" >&2; exit 2 ;;
esac
