"""Writes one JSON object per line and event to the file or FIFO that TROOP_EVENTS names.

Standard output stays Ansible's. Without TROOP_EVENTS the plugin is silent, so that the playbooks can also be run by hand.
"""

from __future__ import annotations

import json
import os
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: troop
type: notification
short_description: one JSON line per task result
description: Tells the core of troop what each task did on each host.
"""

# Fields of a result to pass on. Everything else (invocation, facts, file contents) is dropped.
KEPT = ("msg", "stdout", "stderr", "module_stdout", "module_stderr", "rc", "skip_reason", "reason", "censored")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "troop"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        path = os.environ.get("TROOP_EVENTS")
        self.out = open(path, "a", buffering=1, encoding="utf-8") if path else None
        self.disabled = self.out is None
        self.started = {}

    def _emit(self, event, **values):
        self.out.write(json.dumps(dict(event=event, **values), default=str) + "\n")

    def _result(self, status, result, **values):
        # Newer versions of ansible-core pass a read-only view with public names.
        task = getattr(result, "task", None) or result._task
        host = (getattr(result, "host", None) or result._host).get_name()
        whole = getattr(result, "result", None) or result._result
        raw = json.loads(self._dump_results(whole, keep_invocation=False))
        kept = {key: raw[key] for key in KEPT if key in raw}
        items = [item for item in raw.get("results", []) if isinstance(item, dict)]
        for item in items:
            if item.get("failed") or item.get("unreachable"):
                kept = {**kept, **{key: item[key] for key in KEPT if key in item}}
                values["item"] = item.get("_ansible_item_label", item.get("item"))
                break
        if status == "changed":
            values["files"] = sorted(self._files(whole))
            if not values["files"] and "censored" not in whole:  # a new file has no diff
                values["files"] = [task.args[key] for key in ("dest", "path") if str(task.args.get(key)).startswith("/")]
        if getattr(task, "register", None) == "troop_result":
            values["facts"] = {key: value for key, value in raw.items() if not key.startswith("_ansible")}
        began = self.started.pop((host, task._uuid), None)
        if began is not None:
            values["elapsed"] = time.monotonic() - began
        self._emit("result", host=host, status=status, task=task.get_name(), path=task.get_path(), result=kept, **values)

    def _files(self, result):
        """The files that a task with a diff has changed: their names, since their contents may be secret."""
        names = set()
        for each in [result, *result.get("results", [])]:
            diff = each.get("diff") if isinstance(each, dict) and each.get("changed") else None
            for part in diff if isinstance(diff, list) else [diff]:
                if not isinstance(part, dict):
                    continue
                before = part.get("before")
                name = before.get("path") if isinstance(before, dict) else part.get("before_header")
                if isinstance(name, str) and name.startswith("/"):
                    names.add(name.split(" (")[0])
        return names

    def v2_runner_on_start(self, host, task):
        self.started[(host.get_name(), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result):
        raw = getattr(result, "result", None) or result._result
        self._result("changed" if raw.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._result("failed", result, ignored=bool(ignore_errors))

    def v2_runner_on_skipped(self, result):
        self._result("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self._result("unreachable", result)

    def v2_playbook_on_stats(self, stats):
        self._emit("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
