#!/usr/bin/env python3
"""storage-quota.py FILE keeps hosts from filling the storage host, on any file system.

An account whose files take more than its quota is closed: its folder takes no new files, and its sessions are ended, so
that none goes on with a file that it has open. It can still read what it has stored. A file full.txt beside the folder
says why, for the maintenance plugin. When files were removed here, or the quota was raised, the account is opened again.

Old backups are removed if the configuration says so: those older than some days, and the oldest while an account has more than
some bytes, but of each file name at least some that are complete. removed.txt beside the folder lists their IDs,
before they are removed, so that the host does not take them for lost.

Only an account with a session can write, so only those are measured often. Between two looks a host can exceed its quota
by what the network carries in that time."""
import json
import os
import re
import signal
import sys
import time
from dataclasses import dataclass

OPEN, CLOSED = 0o1770, 0o1750  # of the folder of an account's files
INODE = 16384  # bytes that a file counts at least: a file system has about one inode for as many
SHARE = 0.9  # of the space for backups that all hosts may use together
BUSY, REST = 0.2, 1  # seconds between two looks, with and without sessions
RETAIN = 300  # seconds between two removals of old backups
DAY = 86400
HALF = 7 * DAY  # age from which what has no receipt is removed: its transfer was cut off
LISTED = 20000  # IDs that removed.txt keeps: twice what a host's journal knows
# NAME.ULID, of a later attempt NAME.ULID.ATTEMPT, compressed with .zst; a receipt is the same with .json.
STORED = re.compile(rb"(?s)(.+)\.([0-9A-HJKMNP-TV-Z]{26})((\.[a-z0-9]{6})?(\.zst)?)((\.[a-z0-9]{6})?\.json)?")


@dataclass
class Retention:
    days: float = 0  # 0: for ever
    bytes: int = 0  # of an account; 0: any number
    least: int = 1  # complete backups of each file name that stay


@dataclass
class Backup:
    name: bytes
    id: str
    files: list
    used: int = 0
    time: float = 0
    complete: bool = False
    stays: bool = False


@dataclass
class Account:
    uid: int
    name: str
    root: str
    used: int = 0  # bytes
    files: int = 0
    changed: int = -1  # when files were added or removed last, as of the last measurement
    closed: bool = False

    @property
    def folder(self):
        return os.path.join(self.root, "files")

    @property
    def reason(self):
        return os.path.join(self.root, "full.txt")

    def measure(self):
        self.changed = os.stat(self.folder).st_mtime_ns
        self.used = self.files = 0
        with os.scandir(self.folder) as entries:  # accounts make no folders
            for entry in entries:
                try:
                    blocks = entry.stat(follow_symlinks=False).st_blocks
                except FileNotFoundError:  # removed meanwhile
                    continue
                self.used += max(blocks * 512, INODE)
                self.files += 1

    def backups(self):
        """The backups of each ID, oldest first."""
        found = {}
        with os.scandir(os.fsencode(self.folder)) as entries:
            for entry in entries:
                name = STORED.fullmatch(entry.name)
                if not name:
                    continue
                state = entry.stat(follow_symlinks=False)
                backup = found.setdefault(name[2], Backup(name[1], name[2].decode(), []))
                backup.files.append(entry.path)
                backup.used += max(state.st_blocks * 512, INODE)
                backup.time = max(backup.time, state.st_mtime)
                backup.complete |= bool(name[6]) and state.st_size > 0
        return sorted(found.values(), key=lambda b: b.time)

    def retain(self, rules, now):
        """Removes old backups, and returns their IDs."""
        if not rules.days and not rules.bytes:
            return []
        backups = self.backups()
        used, kept, gone = sum(b.used for b in backups), {}, []
        for backup in reversed(backups):
            if backup.complete and kept.setdefault(backup.name, 0) < rules.least:
                kept[backup.name] += 1
                backup.stays = True
        for backup in backups:
            if not backup.complete:
                old = now - backup.time > HALF
            elif backup.stays:
                old = False
            else:
                old = rules.days and now - backup.time > rules.days * DAY or rules.bytes and used > rules.bytes
            if old:
                gone.append(backup)
                used -= backup.used
        if gone:
            self.list_removed([b.id for b in gone])
        for backup in gone:
            for path in sorted(backup.files, key=lambda f: not f.endswith(b".json")):
                os.unlink(path)
        return [b.id for b in gone]

    def list_removed(self, ids):
        path = os.path.join(self.root, "removed.txt")
        known = []
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                known = f.read().split()
        with open(path + ".new", "w", encoding="ascii") as f:
            f.writelines(i + "\n" for i in (known + ids)[-LISTED:])
        os.rename(path + ".new", path)

    def close(self, limit):
        os.chmod(self.folder, CLOSED)
        if self.closed:
            return
        why = f"its quota of {human(limit)} is used up: {self.files} files take {human(self.used)}"
        print(f"{self.name} is closed: {why}", flush=True)
        with open(self.reason + ".new", "w", encoding="utf-8") as f:
            f.write(why + "\n")
        os.rename(self.reason + ".new", self.reason)
        for pid in processes().get(self.uid, []):  # those that begin later cannot open a file to write
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.closed = True

    def open(self):
        if os.path.exists(self.reason):
            os.unlink(self.reason)
            print(f"{self.name} is open again", flush=True)
        if os.stat(self.folder).st_mode & 0o7777 != OPEN:
            os.chmod(self.folder, OPEN)
        self.closed = False


def processes():
    """The processes of each user."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.setdefault(os.stat("/proc/" + name).st_uid, []).append(int(name))
            except FileNotFoundError:
                pass
    return found


def human(size):
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f} {units[0]}".replace(".0 ", " ")


def limit(quota, accounts):
    """Bytes that each account may use."""
    if quota:
        return quota
    disk = os.statvfs(accounts[0].root)
    space = disk.f_bavail * disk.f_frsize + sum(a.used for a in accounts)
    return int(space * SHARE) // len(accounts)


def look(quota, accounts):
    """Looks once, and returns in how many seconds to look again."""
    began, running = time.monotonic(), processes()
    for account in accounts:
        if account.uid in running or os.stat(account.folder).st_mtime_ns != account.changed:
            account.measure()
    most = limit(quota, accounts)
    for account in accounts:
        if account.used > most:
            account.close(most)
        else:
            account.open()
    if any(a.uid in running for a in accounts):
        return max(BUSY, 4 * (time.monotonic() - began))
    return REST


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        conf = json.load(f)
    accounts = [Account(a["uid"], a["name"], os.path.join(conf["root"], a["name"])) for a in conf["accounts"]]
    rules = Retention(**conf["retention"])
    print(f"keeps the quota of {len(accounts)} accounts", flush=True)
    due = 0
    while True:
        if time.monotonic() >= due:
            due = time.monotonic() + RETAIN
            for account in accounts:
                removed = account.retain(rules, time.time())
                if removed:
                    print(f"{len(removed)} old backups of {account.name} were removed", flush=True)
        time.sleep(look(conf["quota"], accounts))


if __name__ == "__main__":
    main()
