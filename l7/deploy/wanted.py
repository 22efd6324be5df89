"""What a service cluster's two services are to be, as the Engine API writes it (definition ServiceSpec). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from l7.config import Cluster
from l7.deploy import healthcheck, names
from l7.deploy.decisions import Decision
from l7.deploy.file_mode import Files
from l7.deploy.grace import stop_grace
from l7.deploy.placement import one_per_node
from l7.deploy.stored import CA, Stored, extension_secret, proxy_secret
from l7.fleet import Port, ProxyOptions, ServiceOptions
from l7.labels.table import EXTENSION_TYPE, PROXY_CLUSTER, PROXY_TYPE

Json = dict[str, Any]

MILLISECOND = 1_000_000
"""Nanoseconds, in which the Engine API counts durations."""
SECOND = 1000 * MILLISECOND
USER = "1000"
RUN = "/run/l7"
SECRETS = "/run/secrets"
EXTENSION_PORT = 8081
EXTENSION_GRACE = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Installation:
    """What a cluster's services are made from.

    `image`: core's own; `endpoint`: where extensions reach core; `control`: ids of the networks that core is on;
    `networks`: ids by name; `identities`: the PKI's newest secrets by base name, `older` those before by id.
    """

    image: str
    endpoint: str
    control: tuple[str, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    identities: Mapping[str, Stored] = field(default_factory=dict)
    older: Mapping[str, Stored] = field(default_factory=dict)


def network_names(cluster: Cluster) -> tuple[str, ...]:
    """Those that the proxies are on from the start."""
    return cluster.networks if cluster.networks is not None else (names.shared_network(cluster.name),)


def identities(cluster: Cluster) -> tuple[str, ...]:
    """Base names of the secrets with the identities of the extension service and, as far as these know of core, of
    the proxies."""
    extension = extension_secret(cluster.name)
    return (extension, proxy_secret(cluster.name)) if cluster.hitless else (extension,)


def extension_spec(cluster: Cluster, installation: Installation, decision: Decision) -> Json:
    """The extension service. Its port is on the network that it shares with core and proxies alone."""
    options, identity = cluster.extension_options, identities(cluster)[0]
    container = _container(cluster, options, installation, identity) | {
        "Healthcheck": dict(healthcheck.EXTENSION),
        "StopGracePeriod": EXTENSION_GRACE,
    }
    if cluster.own_extension:
        # The same as `l7 haproxy service`, started faster: a new certificate waits for this.
        container["Command"] = ["python3", "-m", "haproxy.service"]
    if not cluster.own_extension or not cluster.hitless:
        container["Env"] += _environment(cluster, installation, identity)
    if options.args:
        container["Args"] = list(options.args)
    networks = installation.control or _ids(network_names(cluster), installation)
    template = _template(container, networks, decision.extension, options)
    return _service(names.extension_service(cluster), EXTENSION_TYPE, cluster, options) | {
        "TaskTemplate": template,
        "Mode": {"Replicated": {"Replicas": 1}},
        "UpdateConfig": _update("start-first", 0, monitor=SECOND),
        # One task needs no virtual address, and where IP_VS is missing there is none that works.
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def proxy_spec(cluster: Cluster, installation: Installation, decision: Decision) -> Json:
    """The proxy service, whose tasks follow core."""
    options, identity = cluster.proxy_options, proxy_secret(cluster.name)
    container = _container(cluster, options, installation, identity) | _stopping(options)
    if cluster.own_extension:
        container |= {"Args": ["haproxy", "run", *options.args], "Healthcheck": dict(healthcheck.PROXY)}
        container["Env"] += _proxy_environment(cluster)
    else:
        container |= {"Args": list(options.args)} if options.args else {}
        container["Env"] += _environment(cluster, installation, identity)
    return _proxies(cluster, installation, decision, container, installation.control)


def file_proxy_spec(cluster: Cluster, installation: Installation, decision: Decision, files: Files) -> Json:
    """The proxy service in file mode: a stock image and its files. Where the operator names no image, it is the
    extension's, as nobody's user, with what that wants to run."""
    options = cluster.proxy_options
    container: Json = {
        "Image": options.image or cluster.extension_options.image or installation.image,
        "Configs": [dict(each) for each in files.configs],
        "Secrets": [dict(each) for each in files.secrets],
    }
    container |= _stopping(options)
    if files.stop_signal and options.stop_signal == USUAL_SIGNAL:
        container["StopSignal"] = files.stop_signal
    if not options.image:
        container |= _CONFINED | {"Command": list(files.command), "Healthcheck": dict(healthcheck.EXTENSION)}
        container["Mounts"] = [{"Type": "tmpfs", "Target": each} for each in _WRITABLE]
    if options.args:
        container["Args"] = list(options.args)
    if options.container_labels:
        container["Labels"] = dict(options.container_labels)
    return _proxies(cluster, installation, decision, container, (), PAUSE)


PAUSE = 1000
"""Milliseconds between two tasks of a roll, at the least, where one may go before its successor serves. A stock
image counts as running before its proxy listens. And where the old task is stopped first, Swarm may have stopped
the next one by the time it learns that the new one failed."""
USUAL_SIGNAL = "SIGQUIT"
_WRITABLE = ("/run", "/tmp")


def _stopping(options: ProxyOptions) -> Json:
    return {"StopSignal": options.stop_signal, "StopGracePeriod": options.stop_grace_period * MILLISECOND}


def _proxies(
    cluster: Cluster, installation: Installation, decision: Decision, container: Json, control: Iterable[str],
    delay: int = 0,
) -> Json:  # fmt: skip
    """With tasks of this container. `control`: ids of the networks to core; `delay`: least pause between tasks of
    an update, in milliseconds."""
    options = cluster.proxy_options
    networks = (
        *control,
        *_ids(network_names(cluster), installation),
        *_by_name(decision.joined, installation),
    )
    template = _template(container, dict.fromkeys(networks), decision.proxies, options)
    order = update_order(options)
    least = PAUSE if order == "stop-first" else delay
    update = _update(order, max(least, options.update_delay) * MILLISECOND, monitor=5 * SECOND)
    return _service(names.proxy_service(cluster), PROXY_TYPE, cluster, options) | {
        "TaskTemplate": template,
        "Mode": {"Global": {}} if decision.replicas is None else {"Replicated": {"Replicas": decision.replicas}},
        "UpdateConfig": update,
        "RollbackConfig": {key: value for key, value in update.items() if key != "FailureAction"},
        "EndpointSpec": {"Mode": "vip", "Ports": _ports(options, decision)},
    }


def update_order(options: ProxyOptions) -> str:
    """Make before break, but where two tasks can't have the same port of a node: Swarm would wait for ever."""
    return "stop-first" if one_per_node(options) else "start-first"


def _ports(options: ProxyOptions, decision: Decision) -> list[Json]:
    if decision.ports is not None:
        return [dict(each) for each in decision.ports]
    return [_port(options, each) for each in (options.http, options.tls)]


def _port(options: ProxyOptions, port: Port) -> Json:
    found = {"Protocol": "tcp", "TargetPort": port.target, "PublishMode": options.publish_mode}
    return found | ({"PublishedPort": port.published} if port.published else {})


def _proxy_environment(cluster: Cluster) -> list[str]:
    options = cluster.proxy_options
    return [
        f"L7_HAPROXY_BIND=:{options.http.target}",
        f"L7_HAPROXY_TLS_BIND=:{options.tls.target}",
        f"L7_HAPROXY_STOP_GRACE={stop_grace(options.stop_grace_period):g}",
        f"L7_HAPROXY_EXTENSION=tasks.{names.extension_service(cluster)}:{EXTENSION_PORT}",
        "L7_TASK_ID={{.Task.ID}}",
    ]


# ---------------------------------------------------------------- both


def _service(name: str, kind: tuple[str, str], cluster: Cluster, options: ServiceOptions) -> Json:
    ours = {kind[0]: kind[1], PROXY_CLUSTER: cluster.name, names.MANAGED: names.FLEET}
    return {"Name": name, "Labels": dict(options.labels) | ours}


def _container(cluster: Cluster, options: ServiceOptions, installation: Installation, identity: str) -> Json:
    secrets = [_secret(base, installation.identities[base]) for base in (CA, identity)]
    container: Json = {
        "Image": options.image or installation.image,
        "Env": [
            f"L7_HAPROXY_CORE={installation.endpoint}",
            f"L7_HAPROXY_CLUSTER={cluster.name}",
            f"L7_HAPROXY_TLS_CA={SECRETS}/{CA}",
            f"L7_HAPROXY_TLS_IDENTITY={SECRETS}/{identity}",
        ],
        **_CONFINED,
        "Mounts": [{"Type": "tmpfs", "Target": RUN}],
        "Secrets": secrets,
    }
    if options.container_labels:
        container["Labels"] = dict(options.container_labels)
    return container


_CONFINED: Json = {
    # PID 1 is Docker's: it hands signals on, and takes in what has lost its parent.
    "Init": True,
    # Nobody's user, without any capability, and the ports below 1024 all the same: Docker opens them in a
    # container's own network.
    "User": f"{USER}:{USER}",
    "CapabilityDrop": ["ALL"],
    "ReadOnly": True,
}


def _environment(cluster: Cluster, installation: Installation, identity: str) -> list[str]:
    """What an extension is told, whatever its proxy (docs/extensions.md)."""
    options = cluster.proxy_options
    return [
        f"L7_CORE={installation.endpoint}",
        f"L7_CLUSTER={cluster.name}",
        f"L7_TLS_CA={SECRETS}/{CA}",
        f"L7_TLS_IDENTITY={SECRETS}/{identity}",
        f"L7_FILE_MODE={'' if cluster.hitless else 'true'}",
        f"L7_CONFIG_PATH={options.config_path}",
        f"L7_HTTP_PORT={options.http.target}",
        f"L7_TLS_PORT={options.tls.target}",
    ]


def keeping(installation: Installation, spec: Json) -> Installation:
    """With those secrets of the PKI that a specification refers to already, be they older."""
    references = spec["TaskTemplate"]["ContainerSpec"].get("Secrets") or ()
    held = {each["File"]["Name"]: installation.older.get(each["SecretID"]) for each in references}
    kept = {base: held.get(base) or newest for base, newest in installation.identities.items()}
    return replace(installation, identities=kept)


def _secret(base: str, stored: Stored) -> Json:
    file = {"Name": base, "UID": USER, "GID": USER, "Mode": 0o400}
    return {"SecretID": stored.id, "SecretName": stored.name, "File": file}


def _template(
    container: Json, networks: Iterable[str], constraints: tuple[str, ...], options: ServiceOptions
) -> Json:
    placement: Json = {"Constraints": list(constraints)} if constraints else {}
    if options.preferences:
        spreads = [each.removeprefix("spread=") for each in options.preferences]
        placement["Preferences"] = [{"Spread": {"SpreadDescriptor": each}} for each in spreads]
    return {
        "ContainerSpec": container,
        "Networks": [{"Target": each} for each in networks],
        "Placement": placement,
        "RestartPolicy": {"Condition": "any", "Delay": SECOND},
    }


def _update(order: str, delay: int, monitor: int) -> Json:
    """One task after the other; Swarm takes all back when one of the new ones fails."""
    return {"Parallelism": 1, "Delay": delay, "FailureAction": "rollback", "Monitor": monitor, "Order": order}


def _by_name(ids: Iterable[str], installation: Installation) -> list[str]:
    """As services without a label choose among theirs (`l7.reach`): none changes its mind when they are there."""
    names_of = {id_: name for name, id_ in installation.networks.items()}
    return sorted(ids, key=lambda each: (names_of.get(each, ""), each))


def _ids(wanted: Iterable[str], installation: Installation) -> tuple[str, ...]:
    return tuple(installation.networks[name] for name in wanted)
