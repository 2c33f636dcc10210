#!/bin/sh
# whole.sh SERVICE SLOT RELEASE succeeds if a slot has a release, with each file as it was installed.
set -eu
[ "$(readlink "/opt/$1/slot-$2")" = "releases/$3" ]
[ -e "/opt/$1/slot-$2/start" ]
cd /etc/troop/installed
exec sha256sum --check --status -- "$1.sha256" "$1-$2.sha256"
