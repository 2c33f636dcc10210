#!/bin/sh
# The tests of total.sh, as TAP.
n=0
check() { # NAME GOT WANT
	n=$((n + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $n - $1"
	else
		printf 'not ok %d - %s\n#   at test.sh line %d.\n#   got %s, want %s\n' "$n" "$1" "$4" "$2" "$3"
	fi
}
check 'adds up' "$(printf '250\n99\n' | sh total.sh)" 349 12
check 'nothing' "$(: | sh total.sh)" 0 13
echo "1..$n"
