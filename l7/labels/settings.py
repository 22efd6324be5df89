"""What labels say together: balance, servers, checks, rules. What can't be had together is noted. Pure."""

from __future__ import annotations

from l7.labels import request_labels as requests
from l7.labels import routing_labels as routing
from l7.labels import server_labels as servers
from l7.labels import tls_labels as tls
from l7.labels.grammar import Bad
from l7.labels.http_values import INFORMATION, MAX_VALUE, HeaderEdit, parse_editable_header
from l7.labels.label import PREFIX, Label
from l7.labels.reading import Reading
from l7.model import (
    Balance,
    Cors,
    HashKey,
    HashSource,
    HeaderChange,
    HealthCheck,
    Protocol,
    ProxyHeader,
    RateLimit,
    RetryOn,
    Rules,
    ServerSettings,
)

_PLAIN = (Balance.ROUND_ROBIN, None)
_TCP_BALANCES = (Balance.ROUND_ROBIN, Balance.LEAST_CONNECTIONS)


def read_balance(reading: Reading) -> tuple[Balance, HashKey | None]:
    """How a server is chosen: `sticky_session_cookie`, else `ip_hash`, else `balance`."""
    given = _balances(reading)
    if not given:
        return _PLAIN
    if reading.get(routing.BACKEND_MODE, False):
        for label, value in given:
            if value != _PLAIN:
                reading.note(
                    label,
                    "can't be honoured with backend_mode=vip, where Swarm chooses the task",
                    f"remove it, or {routing.BACKEND_MODE.key}",
                )
        return _PLAIN
    (winner, chosen), *others = given
    for label, value in others:
        if value != chosen:
            remedy = f"remove one of the two; until then {winner.key} holds"
            reading.note(label, f"can't be combined with {winner.name}", remedy)
    return chosen


def _balances(reading: Reading) -> list[tuple[Label[object], tuple[Balance, HashKey | None]]]:
    """What the three labels ask for, the strongest first."""
    given: list[tuple[Label[object], tuple[Balance, HashKey | None]]] = []
    cookie = reading.get(servers.STICKY, None)
    if cookie is not None:
        given.append((servers.STICKY, (Balance.HASH, HashKey(HashSource.COOKIE, cookie))))
    if reading.get(servers.IP_HASH, False):
        given.append((servers.IP_HASH, (Balance.HASH, HashKey(HashSource.ADDRESS))))
    balance = reading.get(servers.BALANCE, None)
    if balance is not None:
        given.append((servers.BALANCE, balance))
    return given


def read_check(reading: Reading) -> HealthCheck | None:
    """The HTTP check, None for one by TCP."""
    path = reading.get(servers.HEALTH_CHECK_PATH, None)
    if path is None:
        if not reading.has(servers.HEALTH_CHECK_PATH):
            _without(reading, servers.HEALTH_CHECK_PATH, servers.HEALTH_CHECK_STATUS, servers.HEALTH_CHECK_HOST)
        return None
    host, statuses = reading.get(servers.HEALTH_CHECK_HOST, ""), reading.get(servers.HEALTH_CHECK_STATUS, ())
    return HealthCheck(path, host, statuses)


def read_retry_on(reading: Reading) -> RetryOn:
    """Which requests may be sent again."""
    return reading.get(servers.RETRY_ON, RetryOn.CONNECT)


def read_server(reading: Reading) -> ServerSettings:
    """The settings of the service's servers."""
    max_fails = reading.get(servers.MAX_FAILS, 0)
    if not reading.has(servers.MAX_FAILS):
        _without(reading, servers.MAX_FAILS, servers.FAIL_TIMEOUT)
    elif reading.get(servers.MAX_FAILS, None) == 0:
        reading.note_if(servers.FAIL_TIMEOUT, "has no effect with max_fails=0", "remove it, or raise max_fails")
    fail_timeout = reading.get(servers.FAIL_TIMEOUT, servers.DEFAULT_FAIL_TIMEOUT)
    if not fail_timeout:
        max_fails = 0
    protocol, _ = reading.get(servers.PROTOCOL, (Protocol.HTTP, False))
    return ServerSettings(
        protocol=protocol,
        check_port=reading.get(servers.HEALTH_CHECK_PORT, 0),
        check_interval=reading.get(servers.HEALTH_CHECK_INTERVAL, 0),
        check_rise=reading.get(servers.HEALTH_CHECK_RISE, 0),
        check_fall=reading.get(servers.HEALTH_CHECK_FALL, 0),
        slow_start=reading.get(servers.SLOW_START, 0),
        max_connections=reading.get(servers.MAX_CONNECTIONS, 0),
        max_fails=max_fails,
        fail_timeout=fail_timeout if max_fails else 0,
        drain_timeout=reading.get(servers.DRAIN_TIMEOUT, 0),
        proxy_header=reading.get(tls.PROXY_PROTOCOL, ProxyHeader.NONE),
    )


def read_https_redirect(reading: Reading) -> bool:
    """Whether plain HTTP is sent to https, by either name."""
    return reading.get(requests.HTTPS_REDIRECT, False) or reading.get(tls.SSL_ONLY, False)


def read_rules(reading: Reading, hash_key: HashKey | None) -> Rules:
    """What applies to the requests; without a name."""
    _, long_answers = reading.get(servers.PROTOCOL, (Protocol.HTTP, False))
    if not reading.has(servers.MAX_CONNECTIONS) or reading.get(servers.MAX_CONNECTIONS, None) == 0:
        _without(reading, servers.MAX_CONNECTIONS, requests.QUEUE_TIMEOUT)
    size = _HeaderSize(reading)
    return Rules(
        https_redirect=read_https_redirect(reading),
        hsts=reading.get(requests.HSTS, ""),
        allow=reading.get(requests.ALLOW, ()),
        rate_limit=_rate_limit(reading),
        max_body=reading.get(requests.MAX_BODY_SIZE, 0),
        compression=reading.get(requests.COMPRESSION, False),
        cors=_read_cors(reading),
        request_headers=_read_headers(reading, requests.HEADER_REQUEST, size),
        response_headers=_read_headers(reading, requests.HEADER_RESPONSE, size),
        hash_key=hash_key,
        timeout_server=reading.get(requests.TIMEOUT_SERVER, servers.GRPC_TIMEOUT if long_answers else 0),
        timeout_tunnel=reading.get(requests.TIMEOUT_TUNNEL, 0),
        timeout_connect=reading.get(requests.TIMEOUT_CONNECT, 0),
        queue_timeout=reading.get(requests.QUEUE_TIMEOUT, 0),
    )


def _rate_limit(reading: Reading) -> RateLimit | None:
    return reading.get(requests.RATE_LIMIT, None)


def _read_cors(reading: Reading) -> Cors | None:
    origins = reading.get(requests.CORS_ORIGINS, None)
    if origins is None:
        if not reading.has(requests.CORS_ORIGINS):
            others = (
                requests.CORS_METHODS,
                requests.CORS_HEADERS,
                requests.CORS_CREDENTIALS,
                requests.CORS_MAX_AGE,
            )
            _without(reading, requests.CORS_ORIGINS, *others)
        return None
    credentials = reading.get(requests.CORS_CREDENTIALS, False)
    if credentials and origins == ("*",):
        message = "can't be honoured with cors_origins=*: every web site could act as the user"
        reading.note(requests.CORS_CREDENTIALS, message, f"name the origins in {requests.CORS_ORIGINS.key}")
        credentials = False
    return Cors(
        origins=origins,
        methods=reading.get(requests.CORS_METHODS, ()),
        headers=reading.get(requests.CORS_HEADERS, ()),
        credentials=credentials,
        max_age=reading.get(requests.CORS_MAX_AGE, 0),
    )


class _HeaderSize:
    """Counts what all header labels of a service need together."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._left = MAX_VALUE

    def take(self, key: str, change: HeaderChange) -> bool:
        """Whether one more fits; a problem when it does not."""
        self._left -= len(change.name) + len(change.value)
        if self._left < 0:
            remedy = f"names and values of all header labels together: at most {MAX_VALUE} characters"
            self._reading.refuse(key, Bad("is too much, together with the service's other headers", remedy))
        return self._left >= 0


def _read_headers(reading: Reading, label: Label[HeaderEdit], size: _HeaderSize) -> tuple[HeaderChange, ...]:
    """Sorted by name. Of two spellings of one name the first in order holds."""
    changes: dict[str, HeaderChange] = {}
    spelled: dict[str, str] = {}
    for key, written, edit in reading.each(label):
        name = parse_editable_header(written)
        if isinstance(name, Bad):
            reading.refuse(key, name)
            continue
        folded = name.lower()
        if folded in changes:
            message = f"names the same header as {spelled[folded]}, which holds"
            reading.note(key, message, "remove one of the two")
            continue
        change = HeaderChange(edit.action, name, edit.value)
        if size.take(key, change) and not (label is requests.HEADER_RESPONSE and _set_later(reading, key, folded)):
            changes[folded], spelled[folded] = change, key
    return tuple(changes[name] for name in sorted(changes))


_SET_BY: dict[str, Label[object]] = {
    "strict-transport-security": requests.HSTS,
    "access-control-allow-origin": requests.CORS_ORIGINS,
    "access-control-allow-credentials": requests.CORS_ORIGINS,
}
"""Headers of an answer that another label decides about."""


def _set_later(reading: Reading, key: str, name: str) -> bool:
    """Whether a header of an answer is written over on its way to the client; then that is noted."""
    if name in INFORMATION:
        remedy = "remove the label; HideInfoHeaders in the settings hides what the proxies say"
        reading.note(key, "can't be honoured: the proxies say this themselves on every answer", remedy)
        return True
    label = _SET_BY.get(name)
    if label is None or reading.get(label, None) is None:
        return False
    reading.note(key, f"has no effect beside {label.name}", f"remove one of the two: {label.key} holds")
    return True


def note_http(reading: Reading) -> None:
    """Note what means nothing where no task of the service is ever reached by HTTP."""
    routes = (routing.REDIRECTS, routing.DEFAULT_BACKEND)
    has = " and ".join(label.name for label in (routing.REDIRECTS, routing.TCP_PORT) if reading.has(label))
    for key, label in reading.rows.items():
        if not label.tcp and label not in routes and not reading.told(key):
            message = f"has no effect on a service that has nothing but {has}"
            reading.note(key, message, f"remove it, or add {routing.HOSTS.key}")


def read_tcp_balance(reading: Reading) -> Balance:
    """How a server is chosen for a service that has a TCP port and no hosts."""
    if reading.get(servers.IP_HASH, False):
        return Balance.HASH
    balance, hash_key = reading.get(servers.BALANCE, _PLAIN)
    if balance in _TCP_BALANCES or hash_key == HashKey(HashSource.ADDRESS):
        return balance
    reading.note(servers.BALANCE, "can't be honoured for raw TCP", "write roundrobin, leastconn or source")
    return Balance.ROUND_ROBIN


def _without(reading: Reading, missing: Label[object], *labels: Label[object]) -> None:
    for label in labels:
        what = f"add {PREFIX}{missing.name}, or remove it"
        reading.note_if(label, f"has no effect without {missing.name}", what)
