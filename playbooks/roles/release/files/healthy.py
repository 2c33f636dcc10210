#!/usr/bin/env python3
"""healthy.py UNIT PORT ADDRESS HEALTH waits until the release of a unit is healthy. HEALTH is JSON: path, host, status,
timeout and grace, both in seconds. If it does not become healthy in time, or the unit keeps dying, the first line says why,
with the end of the release's own log; more of that log follows."""
import glob
import http.client
import json
import os
import re
import subprocess
import sys
import time

# What releases write when the unit's sandbox is in their way, and what to do.
REMEDIES = [
    (r"(?m)^(?=.*(?:EROFS|[Rr]ead-only file system))(?:.*?/(?:slot-[ab]|releases/[^/\n]+)/app/([\w.-]+))?", lambda m: (
        f"it writes to its own folder, which is read-only: data = [\"{m[1]}\"] in the service block makes that folder writable"
        if m[1] else "it writes to a read-only file system: it may write to LOG_DIR, STATE_DIR, /tmp and the folders of data in the service block")),
    (r"Unknown system error 97|EAFNOSUPPORT|Address family not supported", lambda _: (
        "it needs a kind of socket that the sandbox does not have: allow = { netlink = \"REASON\" } in the service block, if it is netlink")),
    (r"heap out of memory|MemoryError|Cannot allocate memory|ENOMEM", lambda _: (
        "it needs more memory than it may have: see limits in the service block")),
    (r"EMFILE|[Tt]oo many open files", lambda _: "it may open more files with limits { files = … } in the service block"),
    (r"EADDRINUSE|[Aa]ddress already in use", lambda _: "it must listen on the port that PORT names, and another program has the port"),
]


def ask(address, port, health):
    """None when healthy, else what is wrong."""
    connection = http.client.HTTPConnection(address, port, timeout=health["timeout"])
    try:
        connection.request("GET", health["path"], headers={"Host": health["host"]})
        status = connection.getresponse().status
        return None if status == health["status"] else f"answers {status}, want {health['status']}"
    except ConnectionRefusedError:
        return "nothing listens on this port"
    except TimeoutError:
        return f"no answer within {health['timeout']:g} s"
    except (OSError, http.client.HTTPException) as err:
        return str(err) or type(err).__name__
    finally:
        connection.close()


def reachable(address, port):
    """What is wrong when a release that is healthy on 127.0.0.1 listens nowhere else."""
    connection = http.client.HTTPConnection(address, port, timeout=1)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return "it listens on 127.0.0.1 only; it must listen on all addresses (0.0.0.0) to be reached from the router"
    except OSError:
        pass  # the host may not have this address itself, as behind a NAT
    finally:
        connection.close()
    return None


def restarts(unit):
    out = subprocess.run(["systemctl", "show", "--property", "NRestarts", "--value", unit],
                         check=True, capture_output=True, text=True).stdout
    return int(out)


def journal(since, *what):
    out = subprocess.run(["journalctl", *what, "--since", f"@{since:.0f}", "--no-pager", "--output", "cat"], check=False,
                         capture_output=True, text=True, errors="replace", env={**os.environ, "SYSTEMD_COLORS": "0"}).stdout
    return [line for line in out.splitlines() if line.strip()]


def log(unit, since):
    """The last lines that the release wrote: to the journal, else to a file of its log folder."""
    lines = journal(since, "_SYSTEMD_UNIT=" + unit)
    if not lines:
        files = [f for f in glob.glob(f"/var/log/{unit.split('@')[0]}/*") if os.path.isfile(f) and os.stat(f).st_mtime >= since]
        for name in sorted(files, key=lambda f: os.stat(f).st_mtime)[-1:]:
            with open(name, encoding="utf-8", errors="replace") as file:
                lines = [line.rstrip("\n") for line in file.readlines()[-15:] if line.strip()]
    return lines[-15:]


def explain(unit, since, problem):
    """The sentence that says why, and the lines of the log."""
    lines = log(unit, since)
    said = [problem]
    ends = [m for m in (re.search(r"Main process exited, code=\w+, status=(\S+)", line) for line in journal(since, "UNIT=" + unit)) if m]
    if ends:
        said.append(f"it ended with status {ends[-1][1]}" + (f", {len(ends)} times" if len(ends) > 1 else ""))
    for pattern, remedy in REMEDIES:
        found = re.search(pattern, "\n".join(lines))
        if found:
            said.append(remedy(found))
            break
    telling = [line.strip() for line in lines if not re.match(r"\s+at |Node\.js v|\s*\^|\s*[{}]", line)] or lines
    said.append("its log ends with: " + " | ".join(line[:200] for line in telling[-3:]) if telling else "its log is empty")
    return "; ".join(said), lines


def main(unit, port, address, health):
    health = json.loads(health)
    began = time.time() - 30  # the unit was started by the task before
    deadline = time.monotonic() + health["grace"]
    began_with = restarts(unit)
    problem = ask("127.0.0.1", port, health)
    while problem and time.monotonic() < deadline and restarts(unit) <= began_with + 2:
        time.sleep(0.1)
        problem = ask("127.0.0.1", port, health)
    problem = problem or reachable(address, port)
    if not problem:
        return 0
    sentence, lines = explain(unit, began, f"http://{health['host']}:{port}{health['path']}: {problem}")
    print(sentence, *lines, sep="\n", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
