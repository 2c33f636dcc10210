#!/bin/sh
# remove.sh STATE SOCKETS CERTIFICATE AGENT [LABEL] takes off the router what a service has there, and its agent: the folders of the
# state, the certificate, the unit. It can be repeated. The environment's first service has no label.
set -eu
state=$1 sockets=$2 certificate=$3 agent=$4 label=${5-}
unit=troop-agent@$agent.service
if [ -e "/etc/systemd/system/$unit" ]; then
  systemctl -q disable --now "$unit"
  rm -f "/etc/systemd/system/$unit"
  systemctl daemon-reload
fi
systemctl -q reset-failed "$unit" 2>/dev/null || true
rm -rf "/etc/troop/agents/$agent.json" "/etc/troop/installed/$unit.sha256" "/etc/troop/fingerprints/agent-$agent" "/var/lib/troop/$agent"
if [ -n "$label" ]; then
  rm -rf "${state:?}/$label" "$sockets/$label.rescue.sock" "$certificate.$label"
  exit
fi
for name in settings.json weights.map health.map acme.pem acme.sock log.sock; do
  rm -f "$state/$name"
done
rm -f "$certificate"
