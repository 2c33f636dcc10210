#!/usr/bin/env python3
"""healthy.py UNIT PORT ADDRESS HEALTH [PROCESS…] waits until the release of a unit is healthy and the units of its other
processes stay up. HEALTH is JSON: path, host, status, timeout and grace, both in seconds; instead of a path, a command that ends with 0,
or stays_up, the seconds in which the unit must not end. healthy.py --tasks UNIT… runs the units
of tasks to their end, one after the other. If one fails, or a unit keeps dying, the first line says why, with the end of the release's own
log; more of that log follows. healthy.py --back RELEASE SHA256 UNIT … starts a unit, if its slot still has a release, with each file as it was
installed and with an environment of this hash, and waits in the same way, but for its other processes: people wait for it. It ends with 3
if the slot has not, and prints the unit if it did not run before. healthy.py --stay UNIT… says which process has not stayed up
in the last minute."""
import glob
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import time

OPT, INSTALLED = "/opt", "/etc/troop/installed"  # the services, and the lists of what is installed

# What releases write when the unit's sandbox is in their way, and what to do.
REMEDIES = [
    (r"(?m)^(?=.*(?:EROFS|[Rr]ead-only file system))(?:.*?/(?:slot-[a-d]|releases/[^/\n]+)/app/([\w.-]+))?", lambda m: (
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


def command(service, slot, health):
    """None when the command says that the release is healthy, else what it said."""
    ended = subprocess.run([f"{OPT}/{service}/exec", slot, "timeout", str(health["timeout"]), *health["command"]], check=False, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if ended.returncode == 0:
        return None
    said = [line.strip() for line in ended.stdout.splitlines() if line.strip()][-1:]
    why = f"no end within {health['timeout']:g} s" if ended.returncode == 124 else f"it ended with status {ended.returncode}"
    return " and said: ".join([why, *said])


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


def run(*tasks):
    """Runs tasks until one fails."""
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    for unit in tasks:
        began = time.time() - 1
        if subprocess.run(["systemctl", "start", unit], check=False, stderr=subprocess.DEVNULL).returncode:
            return say(unit, began, "the task " + unit.split("@")[0] + " failed")
    return 0


def whole(unit, release, environment):
    """Whether a slot has a release, with each file as it was installed."""
    service, slot = unit.removesuffix(".service").split("@")
    home = f"{OPT}/{service}/slot-{slot}"
    try:
        with open(home + ".env", "rb") as file:
            if hashlib.sha256(file.read()).hexdigest() != environment or os.readlink(home) != f"releases/{release}" or not os.path.exists(home + "/start"):
                return False
        return subprocess.run(["sha256sum", "--check", "--status", "--", f"{service}.sha256", f"{service}-{slot}.sha256"], check=False,
                              cwd=INSTALLED).returncode == 0
    except OSError:
        return False


def back(release, environment, *judged):
    """Starts what a slot still has."""
    unit = judged[0]
    if not whole(unit, release, environment):
        return 3
    ran = subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0
    failed = subprocess.run(["systemctl", "start", unit], check=False, stderr=subprocess.DEVNULL).returncode
    failed = say(unit, time.time() - 30, "the release cannot be started") if failed else main(*judged[:4])
    subprocess.run(["systemctl", "--quiet", *(["disable", "--now"] if failed else ["enable"]), unit], check=not failed)
    if not (ran or failed):
        print(unit)
    return failed


def stay(units, began, seconds=2):
    """Watches processes, which have just started."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(0.1)
        for unit in units:
            if restarts(unit) > 0:
                return dies(unit, began)
    return 0


def stayed(*units, seconds=60):
    """Looks at processes that may run for long: one that ended last week is well again."""
    for unit in units:
        shown = subprocess.run(["systemctl", "show", "--property", "ActiveEnterTimestampMonotonic", "--value", unit],
                               check=True, capture_output=True, text=True).stdout
        if restarts(unit) > 0 and time.monotonic() - int(shown) / 1e6 < seconds:
            return dies(unit, time.time() - seconds)
    return 0


def dies(unit, began):
    return say(unit, began, "the process " + unit.split("@")[0] + " does not stay up")


def say(unit, began, problem):
    sentence, lines = explain(unit, began, problem)
    print(sentence, *lines, sep="\n", flush=True)
    return 1


def main(unit, port, address, health, *processes):
    health = json.loads(health)
    began = time.time() - 30  # the unit was started by the task before
    if health.get("stays_up"):
        return stay([unit, *processes], began, health["stays_up"])
    if health.get("command"):
        service, slot = unit.removesuffix(".service").split("@")
        what, judge = "the command " + " ".join(health["command"]), lambda: command(service, slot, health)
    else:
        what, judge = f"http://{health['host']}:{port}{health['path']}", lambda: ask("127.0.0.1", port, health)
    deadline = time.monotonic() + health["grace"]
    began_with = restarts(unit)
    problem = judge()
    while problem and time.monotonic() < deadline and restarts(unit) <= began_with + 2:
        time.sleep(0.1)
        problem = judge()
    if not problem and not health.get("command"):
        problem = reachable(address, port)
    if problem:
        return say(unit, began, f"{what}: {problem}")
    return stay(processes, began) if processes else 0


if __name__ == "__main__":
    modes = {"--tasks": run, "--back": back, "--stay": stayed}
    mode, arguments = modes.get(sys.argv[1]), sys.argv[2:]
    sys.exit(mode(*arguments) if mode else main(*sys.argv[1:]))
