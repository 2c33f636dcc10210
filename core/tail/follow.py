"""follow.py ARGUMENTS prints what services of this host write to the journal and to their log folders, one JSON object a line, until its
input ends. ARGUMENTS is JSON: services (empty: all), since (seconds since 1970), cursor (in the journal; optional) and follow."""
import datetime
import glob
import json
import os
import re
import select
import subprocess
import sys
import time

BACK = 256 << 10  # how much of the end of a log file may be older than this program
STAMP = re.compile(r'(?:^\W?|"(?:time|ts|timestamp|@timestamp)"\s*:\s*")(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?)(Z|[+-]\d\d:?\d\d)?')


def stamp(line):
    """The time that a line begins with, or has as JSON; None without one."""
    found = STAMP.search(line[:4096])
    if not found:
        return None
    text = found[1].replace(",", ".").replace(" ", "T")
    text, dot, fraction = text.partition(".")
    zone = (found[2] or "+00:00").replace("Z", "+00:00")
    try:
        whole = datetime.datetime.strptime(text + zone.replace(":", ""), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return None
    return whole + (float("0." + fraction) if dot else 0)


def say(**what):
    print(json.dumps(what), flush=True)


class Journal:
    """What the services print."""

    def __init__(self, services, since, cursor):
        self.matches = ["TROOP_SERVICE=" + s for s in services]
        self.since, self.cursor = since, cursor

    def command(self, *more):
        begin = ["--after-cursor", self.cursor] if self.cursor else ["--since", f"@{self.since:.6f}"]
        return ["journalctl", "--quiet", "--no-pager", "--output", "json", *begin, *more, *self.matches]

    def tell(self, line):
        entry = json.loads(line)
        self.cursor = entry["__CURSOR"]
        text = entry.get("MESSAGE") or ""
        if isinstance(text, list):  # it is not UTF-8
            text = bytes(text).decode(errors="replace")
        say(time=int(entry["__REALTIME_TIMESTAMP"]) / 1e6, service=entry["TROOP_SERVICE"], program=entry.get("TROOP_PROGRAM", ""), text=text, cursor=self.cursor)

    def history(self):
        with subprocess.Popen(self.command(), stdout=subprocess.PIPE, text=True, errors="replace") as p:
            for line in p.stdout:
                self.tell(line)

    def follow(self):
        return subprocess.Popen(self.command("--follow", "--no-tail"), stdout=subprocess.PIPE)


class Files:
    """What the services write into their log folders. A file that is renamed goes on under its new name."""

    def __init__(self, services, since):
        self.services, self.since = services, since
        self.read = {}  # by inode: how far, and the beginning of a line that has no end yet
        self.began = False

    def poll(self):
        for service in self.services:
            for path in sorted(glob.glob(f"/var/log/{service}/*")):
                if os.path.isfile(path) and not path.endswith((".gz", ".xz", ".zst")):
                    try:
                        with open(path, "rb") as file:
                            self.tell(service, file)
                    except OSError:
                        pass  # it has gone meanwhile
        self.began = True

    def tell(self, service, file):
        status = os.fstat(file.fileno())
        offset, rest = self.read.get(status.st_ino, (0 if self.began else max(0, status.st_size - BACK), b""))
        if status.st_size < offset:  # it was emptied
            offset, rest = 0, b""
        file.seek(offset)
        data = rest + file.read()
        *lines, rest = data.split(b"\n")
        self.read[status.st_ino] = (file.tell(), rest)
        at = time.time() if self.began else None
        for line in lines:
            text = line.decode(errors="replace")
            at = stamp(text) or at
            if at and (self.began or at > self.since):
                say(time=at, service=service, program="", text=text)


def main(arguments):
    services = [s for s in arguments["services"] or [p.split("/")[2] for p in glob.glob("/opt/*/exec")] if os.path.exists(f"/opt/{s}/exec")]
    if not services:
        say(none=True)
        return
    journal, files = Journal(services, arguments["since"], arguments.get("cursor")), Files(services, arguments["since"])
    journal.history()
    files.poll()
    say(ready=True)
    if not arguments["follow"]:
        return
    with journal.follow() as p:
        try:
            ends, begun = [p.stdout, sys.stdin], b""
            while sys.stdin in ends:
                for end in select.select(ends, [], [], 0.2)[0]:
                    data = os.read(end.fileno(), 1 << 16)
                    if not data:
                        ends.remove(end)
                    elif end is p.stdout:
                        *lines, begun = (begun + data).split(b"\n")
                        for line in lines:
                            journal.tell(line)
                files.poll()
        finally:
            p.kill()


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except BrokenPipeError:
        sys.exit(1)
