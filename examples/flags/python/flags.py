"""Reads feature flags from the agent on this host, over plain HTTP, with Python's own library.

As a program it prints one flag: flags.py NAME DEFAULT [ATTRIBUTE=VALUE...], where DEFAULT is JSON.
"""

import json
import os
import sys
import urllib.parse
import urllib.request

# 127.0.0.1 is never behind a proxy.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ENDPOINT = os.environ.get("OFREP_ENDPOINT", "http://127.0.0.1:8016")


def flag(name, default, **context):
    """The value of a flag for a context; default when the flag has none, is of another type, or nobody answers.

    targetingKey is the attribute that shares go by: flag("new-feature", False, targetingKey=user.id)
    """
    request = urllib.request.Request(
        f"{ENDPOINT}/ofrep/v1/evaluate/flags/{urllib.parse.quote(name, safe='')}",
        data=json.dumps({"context": context}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with OPENER.open(request, timeout=0.5) as answer:
            value = json.load(answer).get("value", default)
    except (OSError, ValueError):  # urllib's errors are OSErrors; a flag that is not set is one, too
        return default
    same = isinstance(value, bool) == isinstance(default, bool)  # a bool is an int in Python
    number = isinstance(value, (int, float)) and isinstance(default, (int, float))
    return value if same and (number or isinstance(value, type(default))) else default


if __name__ == "__main__":
    attributes = dict(argument.split("=", 1) for argument in sys.argv[3:])
    print(json.dumps(flag(sys.argv[1], json.loads(sys.argv[2]), **attributes)))
