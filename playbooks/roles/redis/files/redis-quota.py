#!/usr/bin/env python3
"""redis-quota.py FILE keeps hosts from filling the environment's Redis, which knows no limit for each user.

Redis takes data up to maxmemory. A host whose events take an eighth of it loses the oldest: readers could not take them in
one reply. When half of it is used, a host that holds more than its share loses its oldest events, too. A host that goes
on, or whose other entries are too large, is closed: its user is switched off, and its entries are removed, except its
newest events. A host with very many connections is closed when a quarter of all is used. After a while it is opened again.
Nothing of the operator's side is ever touched, nor of the router, whose Redis this is."""
import json
import os
import socket
import sys
import time
from collections import defaultdict, deque

EVENTS, REPORTS, MARKS = "troop:events:", "troop:report:", "troop:event:"
CLOSED_FOR = 600  # seconds
FLOOD = 3  # cuts of a host's events within a minute
MOST_CONNECTIONS = 200  # of a host, when Redis has few left
EXACT = 5000  # keys up to which all are measured; beyond, as many are drawn at random
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Redis:
    """A connection that sends commands in batches. A reply that is an error is an Exception among the results."""

    def __init__(self, path, password):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(path)
        self.replies = self.sock.makefile("rb")
        self.one("AUTH", "quota", password)

    def all(self, commands):
        out = bytearray()
        for command in commands:
            out += b"*%d\r\n" % len(command)
            for word in command:
                word = word if isinstance(word, bytes) else str(word).encode()
                out += b"$%d\r\n%s\r\n" % (len(word), word)
        self.sock.sendall(out)
        return [self.read() for _ in commands]

    def one(self, *command):
        result = self.all([command])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def read(self):
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return ValueError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"*":
            return [self.read() for _ in range(size)]
        return self.replies.read(size + 2)[:-2]

    def info(self, section):
        lines = self.one("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def scan(self, pattern):
        cursor = b"0"
        while True:
            cursor, keys = self.one("SCAN", cursor, "MATCH", pattern, "COUNT", 10000)
            yield keys
            if cursor == b"0":
                return


def owner(key):
    """The host that a key belongs to, for keys other than streams."""
    for prefix in (REPORTS, MARKS):
        if key.startswith(prefix.encode()):
            return key[len(prefix):].split(b":")[0].decode(errors="replace")
    return None


def ulid():
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(ALPHABET[number >> 5 * i & 31] for i in reversed(range(26)))


class Quota:
    def __init__(self, conf):
        self.conf = conf
        self.hosts = [h for h in conf["hosts"] if h not in conf["routers"]]
        self.closed = {}  # host: when it is opened again
        self.cuts = defaultdict(deque)  # host: when its events were cut
        self.untold = []  # events that Redis did not take yet
        self.redis = None

    def connect(self):
        self.redis = Redis(self.conf["socket"], self.conf["password"])
        for host in self.hosts:  # what an earlier one has left closed is opened
            self.switch(host, "off" if host in self.closed else "on")
        print(f"keeps the limits of {len(self.hosts)} hosts", flush=True)

    def switch(self, host, state):
        self.redis.one("ACL", "SETUSER", "host:" + host, state)

    def say(self, host, severity, summary):
        print(summary, flush=True)
        self.untold.append({
            "id": ulid(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "source": "redis",
            "kind": "quota.exceeded", "severity": severity, "key": "quota/redis/" + host, "summary": summary,
        })

    def step(self):
        """Looks once, and returns in how many seconds to look again."""
        for host in [h for h, until in self.closed.items() if until < time.time()]:
            del self.closed[host]
            self.switch(host, "on")
            self.say(host, "resolved", f"{host} may use the environment's Redis again")
        acted = self.memory()
        acted = self.connections() or acted
        while self.untold:
            self.redis.one("XADD", EVENTS + self.conf["self"], "*", "event", json.dumps(self.untold[0]))
            self.untold.pop(0)
        return 0.1 if acted else 0.2 if self.closed else 1

    def memory(self):
        info = self.redis.info("memory")
        limit = int(info["maxmemory"])
        full = int(info["used_memory"]) > limit // 2
        share = min(limit // 8, limit // 2 // max(len(self.hosts), 1)) if full else limit // 8
        streams = self.redis.all([("MEMORY", "USAGE", EVENTS + h) for h in self.hosts])
        streams = {h: n or 0 for h, n in zip(self.hosts, streams)}
        others = self.others() if full else defaultdict(int)
        acted = False
        for host in self.hosts:
            if streams[host] + others[host] <= share:
                continue
            acted = True
            if streams[host] > share // 2:
                entries = self.redis.one("XLEN", EVENTS + host)
                self.redis.one("XTRIM", EVENTS + host, "MAXLEN", entries * (share // 2) // streams[host])
                self.cuts[host].append(time.time())
            while self.cuts[host] and self.cuts[host][0] < time.time() - 60:
                self.cuts[host].popleft()
            if others[host] > share // 2 or len(self.cuts[host]) > FLOOD:
                self.close(host, "it has filled its share of the memory")
                self.remove(host)
        return acted

    def others(self):
        """Bytes of each host's keys other than its stream: measured, or estimated when there are very many."""
        size, count = defaultdict(int), self.redis.one("DBSIZE")
        if count <= EXACT:
            keys, factor = [k for part in self.redis.scan("troop:*") for k in part], 1
        else:
            keys, factor = self.redis.all([("RANDOMKEY",)] * EXACT), count / EXACT
        keys = [k for k in keys if k and owner(k)]
        for key, n in zip(keys, self.redis.all([("MEMORY", "USAGE", k) for k in keys])):
            if isinstance(n, int):
                size[owner(key)] += int(n * factor)
        return size

    def connections(self):
        info = self.redis.info("clients")
        if int(info["connected_clients"]) <= int(info["maxclients"]) // 4:
            return False
        host_of = {self.conf["hosts"][h]: h for h in self.hosts}
        clients = defaultdict(list)
        for line in self.redis.one("CLIENT", "LIST").decode(errors="replace").splitlines():
            fields = dict(f.split("=", 1) for f in line.split(" ") if "=" in f)
            address = fields.get("addr", "").rsplit(":", 1)[0]
            if address in host_of:
                clients[host_of[address]].append(fields["id"])
        acted = False
        for host, ids in clients.items():
            if len(ids) > MOST_CONNECTIONS:
                acted = True
                self.close(host, f"it has {len(ids)} connections")
                self.redis.all([("CLIENT", "KILL", "ID", i) for i in ids])
        return acted

    def close(self, host, why):
        new = host not in self.closed
        self.closed[host] = time.time() + CLOSED_FOR
        self.switch(host, "off")
        self.redis.one("CLIENT", "KILL", "USER", "host:" + host)
        if new:
            self.say(host, "alert", f"{host} may not use the environment's Redis for {CLOSED_FOR // 60} minutes: {why}")

    def remove(self, host):
        for pattern in (MARKS, REPORTS):
            for keys in self.redis.scan(f"{pattern}{host}:*"):
                if keys:
                    self.redis.one("UNLINK", *keys)


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        quota = Quota(json.load(f))
    while True:
        try:
            if quota.redis is None:
                quota.connect()
            time.sleep(quota.step())
        except (OSError, ValueError) as err:  # Redis restarts, or is still full
            if quota.redis is not None:
                print(err, flush=True)
            quota.redis = None
            time.sleep(0.05)  # sooner than anybody can take all connections


if __name__ == "__main__":
    main()
