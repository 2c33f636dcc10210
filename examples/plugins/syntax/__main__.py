"""Syntax is a stage that checks that the JSON and YAML files of a commit parse. It is a plugin in Python, to show
that the wire is the contract: this file is all that is about syntax, and troop.py all that is about the wire.
"""

import fnmatch
import json
import os

import troop
import yaml

ARGUMENTS = [
    troop.argument("files", "list(string)", default='["*.json", "*.yaml", "*.yml"]',
                   doc="Patterns of the files to read. One without a slash is held against the name alone."),
    troop.argument("exclude", "list(string)", default='[".git", "node_modules"]',
                   doc="Names of folders that are not looked into."),
]


def check(config):
    for i, pattern in enumerate(config.get("files", [])):
        if not pattern or pattern.startswith("/"):
            yield f"files[{i}]", f'want a pattern such as "*.json" or "deploy/*.yml", got "{pattern}"'


def run(config, info):
    read, bad = 0, 0
    for path in files(info.workspace, config["files"], config["exclude"]):
        read += 1
        yield troop.progress(read, path)
        with open(os.path.join(info.workspace, path), "rb") as f:
            mistake = first_mistake(path, f.read())
        if mistake:
            bad += 1
            yield troop.finding(path, *mistake)
    if read == 0:
        raise troop.Skipped("no file has one of the names: " + ", ".join(config["files"]))
    yield troop.output("files", read)
    if bad:
        raise troop.Failed(f"{bad} of {read} files do not parse")
    yield troop.log(f"{read} files parse")


def files(root, patterns, exclude):
    for folder, below, names in os.walk(root):
        below[:] = sorted(set(below) - set(exclude))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            chosen = any(fnmatch.fnmatch(path if "/" in p else name, p) for p in patterns)
            if chosen and os.path.isfile(os.path.join(root, path)):
                yield path


def first_mistake(path, data):
    """Where a file cannot be read on, and why: line, column, rule, message."""
    rule = "json" if path.endswith(".json") else "yaml"
    try:
        text = data.decode()
        if rule == "json":
            json.loads(text)
        else:
            for _ in yaml.parse(text):
                pass
    except UnicodeDecodeError as e:
        return data.count(b"\n", 0, e.start) + 1, 0, rule, "not UTF-8"
    except json.JSONDecodeError as e:
        return e.lineno, e.colno, rule, e.msg
    except yaml.MarkedYAMLError as e:
        return e.problem_mark.line + 1, e.problem_mark.column + 1, rule, e.problem
    except yaml.reader.ReaderError as e:
        return text.count("\n", 0, e.position) + 1, 0, rule, e.reason
    except RecursionError:
        return 0, 0, rule, "nested too deeply"


if __name__ == "__main__":
    troop.serve("syntax", "0.1.0", "check that JSON and YAML files parse", ARGUMENTS, check, run,
                outputs={"files": "How many files were read."}, capabilities=["workspace"], cacheable=True)
