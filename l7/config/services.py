"""What of a cluster's table is about its two services → their options. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from l7 import fleet
from l7.config.extension_options import EXTENSION
from l7.config.images import foreign_extension, foreign_file_proxy, foreign_proxy, is_own
from l7.config.kinds import is_service_name
from l7.config.placement import MKE
from l7.config.proxy_options import PROXY
from l7.config.reading import Reading, Values, Where
from l7.config.settings import Cluster
from l7.fleet import Port, ProxyOptions, ServiceOptions

DEBUG = ("-D",)
"""Arguments of Interlock's extensions that ours take, too."""


def service_options(reading: Reading, where: Where, values: Values) -> tuple[ServiceOptions, ProxyOptions, bool]:
    """Those of the extension service and of the proxies, and whether these are changed live. Raises ConfigError."""
    fields = values.fields(EXTENSION)
    if reason := foreign_extension(fields["image"]):
        kept = tuple(each for each in fields["args"] if each in DEBUG)
        _replaced(reading, where, values.given["Image"], reason, "Args" if kept != fields["args"] else "")
        fields |= {"image": "", "args": kept}
    for key in ("Constraints", "ProxyConstraints"):
        _mke(reading, where, key, values)
    live = _is_live(reading, where, values, is_own(fields["image"]))
    return ServiceOptions(**fields), _proxies(reading, where, values, live, is_own(fields["image"])), live


def _is_live(reading: Reading, where: Where, values: Values, own: bool) -> bool:
    """Another extension than l7's own has file mode, unless it is said to do more."""
    live = bool(values.of["HitlessServiceUpdate"]) if "HitlessServiceUpdate" in values.given else own
    if live and "ProxyConfigPath" in values.given and own:
        reading.warn(where, values.given["ProxyConfigPath"], _NOT_MOUNTED)
    return live


_NOT_MOUNTED = (
    "has no effect: the configuration is made by the sidecar within each proxy, and never mounted, unless "
    "HitlessServiceUpdate = false"
)


def _proxies(reading: Reading, where: Where, values: Values, live: bool, own: bool) -> ProxyOptions:
    fields = values.fields(PROXY)
    reason = foreign_proxy(fields["image"]) if live and own else foreign_file_proxy(fields["image"])
    if reason:
        _replaced(reading, where, values.given["ProxyImage"], reason, "ProxyArgs" if fields["args"] else "")
        fields |= {"image": "", "args": ()}
    for one, other in (("PublishedPort", "PublishedSSLPort"), ("TargetPort", "TargetSSLPort")):
        if values.of[one] == values.of[other] != 0:
            key = other if other in values.given else one
            reason = f"{one} and {other} are both {values.of[one]}: HTTP and TLS need one each"
            raise reading.error(where, key, reason)
    http, tls = (Port(values.of[f"Published{which}"], values.of[f"Target{which}"]) for which in ("Port", "SSLPort"))
    return ProxyOptions(**fields, http=http, tls=tls)


def _replaced(reading: Reading, where: Where, key: str, reason: str, arguments: str) -> None:
    more = f"; {arguments} was for it, and is left out" if arguments else ""
    reading.warn(where, key, f"l7's own image runs instead: {reason}{more}")


def _mke(reading: Reading, where: Where, key: str, values: Values) -> None:
    """Every file of MKE's has such a constraint, and outside of MKE no task of such a service would ever run."""
    if any(each.startswith(MKE) for each in values.of[key]):
        reason = f"only MKE labels its nodes with {MKE.removeprefix('node.labels.')}*: elsewhere nothing will run"
        reading.warn(where, values.given[key], reason)


def check_names(reading: Reading, clusters: Iterable[Cluster]) -> None:
    """Raises ConfigError when two services would have one name, or one a name that Swarm does not take."""
    names: dict[str, str] = {}
    for cluster in clusters:
        where = ("Extensions", cluster.extension)
        for key, options, usual in (
            ("ServiceName", cluster.extension_options, fleet.EXTENSION),
            ("ProxyServiceName", cluster.proxy_options, fleet.PROXY),
        ):
            name = fleet.service_name(options, usual, cluster.name)
            if not is_service_name(name):
                raise reading.error(where, "ServiceCluster", f"{name!r} is no name of a service: give {key}, too")
            other = names.setdefault(name, ".".join((*where, key)))
            if other != ".".join((*where, key)):
                raise reading.error(where, key, f"{name!r} is {other} already")
