#!/usr/bin/env python3
"""healthy.py UNIT URL SECONDS waits until URL answers 200. If it does not in time, or the unit keeps dying, it says
why, with the unit's last lines, and exits with 1."""
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request


def ask(url):
    """None when healthy, else what is wrong."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return None if answer.status == 200 else f"answers {answer.status}"
    except urllib.error.HTTPError as err:
        return f"answers {err.code}"
    except (OSError, urllib.error.URLError) as err:
        return str(getattr(err, "reason", err))


def restarts(unit):
    out = subprocess.run(["systemctl", "show", "--property", "NRestarts", "--value", unit],
                         check=True, capture_output=True, text=True).stdout
    return int(out)


def main(unit, url, seconds):
    began = time.time()
    deadline = time.monotonic() + float(seconds)
    began_with = restarts(unit)
    problem = ask(url)
    while problem and time.monotonic() < deadline:
        time.sleep(0.1)
        problem = ask(url)
        if problem and restarts(unit) > began_with + 2:
            problem = "the service does not stay up"
            break
    if not problem:
        return 0
    print(f"{url}: {problem}", flush=True)
    # The unit was started by the task before, less than half a minute ago.
    subprocess.run(["journalctl", "--unit", unit, "--since", f"@{began - 30:.0f}", "--lines", "15", "--no-pager",
                    "--output", "cat"], check=False, env={**os.environ, "SYSTEMD_COLORS": "0"})
    return 1


sys.exit(main(*sys.argv[1:]))
