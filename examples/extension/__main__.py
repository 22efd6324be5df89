"""A whole extension of l7 in one file: hosts of services as servers of a stock NGINX, and nothing else.

It needs what protoc makes of proto/l7/v1 (here as `l7.v1`), grpcio, and docs/extensions.md. Core runs it as the
extension service of a cluster whose `Image` has it; it renders a file, and Swarm rolls the proxies.
"""

import hashlib
import os
import queue
import re
import time

import grpc

from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc as rpc

CORE, CLUSTER = os.environ.get("L7_CORE", "core:8080"), os.environ.get("L7_CLUSTER", "")
PATH = os.environ.get("L7_CONFIG_PATH") or "/etc/nginx/nginx.conf"
PORT = os.environ.get("L7_HTTP_PORT") or "80"
READY = pb.SERVER_STATE_READY


class State:
    """The desired state: chunks are gathered until the last one, removals count before upserts."""

    def __init__(self):
        self.revision, self.staged, self.backends, self.routes = "", [], {}, {}

    def apply(self, chunk):
        """True when an update is whole; ValueError when it does not continue what we have."""
        self.staged.append(chunk)
        if not chunk.last:
            return False
        chunks, self.staged = self.staged, []
        if chunks[0].kind == pb.UPDATE_KIND_COMPLETE:
            self.backends, self.routes = {}, {}
        elif chunks[0].applies_to != self.revision:
            raise ValueError(f"an update from {chunks[0].applies_to}, while {self.revision} is held")
        for chunk in chunks:
            self.remove(chunk.changes)
        for chunk in chunks:
            self.put(chunk.changes)
        self.revision = chunks[-1].results_in
        return True

    def remove(self, changes):
        for name in changes.removed_backends:
            self.backends.pop(name, None)
        for key in changes.removed_routes:
            self.routes.pop((key.host, key.path), None)
        for backend in changes.backends:
            for task in backend.removed_servers:
                self.backends.get(backend.name, {}).pop(task, None)

    def put(self, changes):
        for backend in changes.backends:
            servers = self.backends.setdefault(backend.name, {})
            servers.update({server.task: server for server in backend.servers})
        for route in changes.routes:
            self.routes[route.host, route.path] = route


def render(state):
    """The file, and what can't be had, by service. Names are checked by core; everything else here is a number."""
    lines, problems = ["events {}", "http {", "server_names_hash_bucket_size 256;"], []
    for (host, path), route in sorted(state.routes.items()):
        servers = [each for each in state.backends.get(route.backend, {}).values() if each.state == READY]
        if path != "/" or not re.fullmatch(r"[a-z0-9.-]+", host):
            problems.append(pb.Problem(service=route.rules or route.backend, message=f"{host}{path}: hosts only",
                                       remedy="publish a plain host, without context_root"))  # fmt: skip
            continue
        name = "up_" + hashlib.sha256(host.encode()).hexdigest()[:12]
        if servers:
            tasks = " ".join(f"server {each.address}:{each.port} weight={each.weight};" for each in servers)
            lines.append(f"upstream {name} {{ {tasks} }}")
        answer = f"proxy_pass http://{name}; proxy_set_header Host $http_host;" if servers else "return 503;"
        lines.append(f"server {{ listen {PORT}; server_name {host}; location / {{ {answer} }} }}")
    lines += [f"server {{ listen {PORT} default_server; return 503; }}", "}", ""]
    return "\n".join(lines).encode(), problems


def channel():
    """Mutual TLS: both files are secrets of this service. Core is known by the name `core`, wherever it is."""
    if not os.environ.get("L7_TLS_CA"):
        return grpc.insecure_channel(CORE)  # for trying it out, on loopback: core takes no other
    with open(os.environ["L7_TLS_CA"], "rb") as ca, open(os.environ["L7_TLS_IDENTITY"], "rb") as identity:
        pem = identity.read()
        key = re.search(
            rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\n?", pem, re.DOTALL
        )[0]
        credentials = grpc.ssl_channel_credentials(ca.read(), key, pem.replace(key, b""))
    return grpc.secure_channel(CORE, credentials, (("grpc.ssl_target_name_override", "core"),))


def follow(connection):
    """One stream, until it breaks."""
    state, requests, stub = State(), queue.SimpleQueue(), rpc.SyncServiceStub(connection)
    hello = pb.Hello(cluster=CLUSTER, instance=os.uname().nodename, proxy="example", role=pb.ROLE_EXTENSION)
    requests.put(pb.SyncRequest(hello=hello))
    published = None
    for chunk in stub.Sync(iter(requests.get, None)):
        try:
            whole = state.apply(chunk)
        except ValueError:
            state = State()
            requests.put(pb.SyncRequest(hello=hello))  # an empty revision: core sends everything again
            continue
        if not whole:
            continue
        requests.put(pb.SyncRequest(ack=pb.Ack(revision=state.revision)))
        content, problems = render(state)
        requests.put(pb.SyncRequest(report=pb.Report(problems=problems)))
        if content != published:
            file = pb.ConfigFile(name="nginx.conf", data=content, mount=PATH)
            how = pb.Deployment(command=["nginx", "-g", "daemon off;", "-c", PATH])
            piece = pb.PublishConfigRequest(cluster=CLUSTER, revision=state.revision, files=[file], deployment=how)
            stub.PublishConfig(iter([piece]))
            published = content
            print(f"published {len(content)} bytes of {state.revision}", flush=True)


def main():
    while True:
        try:
            with channel() as connection:
                follow(connection)
        except grpc.RpcError as error:  # core is away: the proxies go on with what they have
            print(f"stream lost: {error.code().name}: {error.details()}", flush=True)
        time.sleep(1)


if __name__ == "__main__":
    main()
