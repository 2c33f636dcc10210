"""The wire between troop and its plugins, for Python: plugins/sdk/README.md says what goes over it.

A plugin is a name, what its block in a manifest takes, and two functions; serve() does the rest. This file holds
nothing of any one plugin: copy it to begin one of your own.
"""

import contextlib
import json
import os
import re
import sys
import threading
from concurrent import futures

import grpc
import plugin_pb2 as wire

PROTOCOL = 1
COOKIE = "b8f4c1d2-one-stage-one-binary"


class Failed(Exception):
    """A gate's verdict: the stage worked, and the answer is no."""


class Skipped(Exception):
    """The verdict that there was nothing to do."""


def argument(name, type, doc, **more):
    """An argument of the block: type is string, number, bool, duration, size, list(...) or map(...)."""
    return wire.Attribute(name=name, type=type, doc=doc, **more)


def log(line, error=False):
    return wire.Message(log=wire.Log(line=line, error=error))


def finding(path, line, column, rule, message, severity="error"):
    return wire.Message(finding=wire.Finding(
        path=path, line=line, column=column, severity=severity, rule=rule, message=message))


def progress(done, text, total=0):
    return wire.Message(progress=wire.Progress(done=done, total=total, text=text))


def output(name, value):
    return wire.Message(output=wire.OutputValue(name=name, json=json.dumps(value).encode()))


class Plugin:
    """The service that troop calls. Each method is one call of the protocol."""

    def __init__(self, name, version, summary, arguments, outputs, capabilities, cacheable, check, run):
        self.description = wire.Description(
            name=name, version=version, summary=summary, stage=True, values=True,
            capabilities=capabilities, cacheable=cacheable,
            config=wire.Block(attributes=arguments),
            outputs=[wire.Output(name=n, doc=d) for n, d in outputs.items()])
        self.check, self.run = check, run
        self.cancelled = {}  # by the number of the call
        self.stopping = threading.Event()

    def Describe(self, request, context):
        return self.description

    def Check(self, request, context):
        """check yields pairs: the path of an argument, and what is wrong with it."""
        reply = wire.CheckReply()
        for path, detail in self.check(json.loads(request.config.values)):
            reply.diagnostics.add(path=path, detail=detail)
        return reply

    def Run(self, request, context):
        """run yields messages. Once the call is cancelled, it is closed where it stands: its finally clauses run."""
        cancelled = self.cancelled.setdefault(request.call, threading.Event())
        context.add_callback(cancelled.set)
        result = wire.Result()
        try:
            with contextlib.closing(self.run(json.loads(request.config.values), request.info)) as work:
                for message in work:
                    if cancelled.is_set():
                        break
                    yield message
        except Failed as e:
            result = wire.Result(status=wire.Result.FAILED, reason=str(e))
        except Skipped as e:
            result = wire.Result(status=wire.Result.SKIPPED, reason=str(e))
        finally:
            self.cancelled.pop(request.call, None)
        if cancelled.is_set():
            context.abort(grpc.StatusCode.CANCELLED, "cancelled")
        yield wire.Message(result=result)

    def Cancel(self, request, context):
        """The call may not have arrived yet."""
        self.cancelled.setdefault(request.call, threading.Event()).set()
        return wire.CancelReply()

    def Shutdown(self, request, context):
        self.stopping.set()
        return b""

    def handlers(self):
        """What grpcio's code generator would write; Shutdown is go-plugin's, and its messages are empty."""
        def unary(method, request, reply):
            return grpc.unary_unary_rpc_method_handler(method, request.FromString, reply.SerializeToString)
        return (
            grpc.method_handlers_generic_handler("troop.plugin.v1.Plugin", {
                "Describe": unary(self.Describe, wire.DescribeRequest, wire.Description),
                "Check": unary(self.Check, wire.CheckRequest, wire.CheckReply),
                "Run": grpc.unary_stream_rpc_method_handler(
                    self.Run, wire.RunRequest.FromString, wire.Message.SerializeToString),
                "Cancel": unary(self.Cancel, wire.CancelRequest, wire.CancelReply),
            }),
            grpc.method_handlers_generic_handler("plugin.GRPCController", {
                "Shutdown": grpc.unary_unary_rpc_method_handler(self.Shutdown),
            }),
        )


def credentials():
    """Both ends' keys come from troop, through a pipe: PEM blocks of this end's certificate and key, and the
    certificate of the one peer to trust."""
    with open(int(os.environ.pop("TROOP_TLS_FD"))) as pipe:
        certificate, key, peer = re.findall(r"-----BEGIN .*?-----END [A-Z ]+-----\n", pipe.read(), re.DOTALL)
    return grpc.ssl_server_credentials(
        [(key.encode(), certificate.encode())], peer.replace("PEER CERTIFICATE", "CERTIFICATE").encode(),
        require_client_auth=True)


def serve(name, version, summary, arguments, check, run, outputs={}, capabilities=(), cacheable=False):
    """Serve is all that a plugin's main does. It returns when troop says so, or is gone."""
    if os.environ.get("TROOP_PLUGIN") != COOKIE:
        sys.exit(f"{name} {version} is a plugin of troop, which starts it: install it in troop's folder or in ~/.troop/plugins.")
    plugin = Plugin(name, version, summary, arguments, outputs, capabilities, cacheable, check, run)
    server = grpc.server(futures.ThreadPoolExecutor(), options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers(plugin.handlers())
    socket = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin")
    server.add_secure_port("unix:" + socket, credentials())
    server.start()
    print(f"1|{PROTOCOL}|unix|{socket}|grpc|", flush=True)
    parent = int(os.environ["TROOP_PARENT"])
    while os.getppid() == parent and not plugin.stopping.wait(0.2):
        pass
    server.stop(0.1).wait()
