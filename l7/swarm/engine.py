"""The Docker Engine API through the `docker` SDK: the only place that talks to Docker.

The SDK blocks, so one thread of its own makes the calls, and another reads the events. Each call has a
timeout: without a leader, a manager does not answer at all. What fails raises; nothing empty is made up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, TypeVar

import docker
import docker.constants
import docker.errors
import docker.tls
import msgspec
import orjson
import requests
import urllib3

from l7.kit.errors import ConfigError, L7Error, Rejected, Unavailable
from l7.model import Network, Node, Service, StoredSecret, Task
from l7.swarm import from_json
from l7.swarm.cache import Kind
from l7.swarm.known import Known

_T = TypeVar("_T")
_O = TypeVar("_O", Service, Task)
_FOREIGN = (docker.errors.DockerException, requests.RequestException, msgspec.DecodeError, OSError)
# A stream that breaks shows as any of these, depending on where in a chunk it was cut.
_BROKEN_STREAM = (*_FOREIGN, HTTPException, urllib3.exceptions.HTTPError, ValueError)
# The daemon begins to collect a little after it sent the response's head: what happened in between is
# asked for again, from its memory of past events.
_OVERLAP = 2  # seconds
_WATCHED = (Kind.SERVICE, Kind.NODE, Kind.NETWORK)
# How SwarmKit says, with status 500, that the object was changed since it was read.
_OUTDATED = "update out of sequence"


PATIENT = 15
"""Seconds for calls that may be about thousands of secrets: a specification with 10,000 of them takes Swarm 4 to 5
s, and a list of configs brings the content of all."""


class Outdated(Unavailable):
    """The object was changed meanwhile: read it again."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the Engine API is. TLS as soon as one of the files is given, or for https://.

    `tls_ca`: whom the daemon's certificate must be of, "" for the public CAs; `insecure`: any will do. `tls_cert`
    and `tls_key`: who we are.
    """

    url: str = "unix:///var/run/docker.sock"
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    insecure: bool = False

    @property
    def has_tls(self) -> bool:
        files = bool(self.tls_ca or self.tls_cert or self.tls_key)
        return self.url.startswith("https://") or (self.url.startswith("tcp://") and files)


@dataclass(frozen=True, slots=True)
class Hint:
    """An object was created, updated or removed."""

    kind: Kind
    id: str


class Engine:
    """The Engine API of a manager. `timeout` in seconds, for each call.

    Methods raise Unavailable (no answer, no leader, no manager) or Rejected.
    """

    def __init__(self, address: Address, timeout: int = 3) -> None:
        self._address = address
        self._timeout = timeout
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="docker")
        self._client: docker.APIClient | None = None
        self._services: Known[msgspec.Raw, Service] = Known(from_json.head, _read(from_json.parse_service))
        self._tasks: Known[msgspec.Raw, Task] = Known(from_json.head, _read(from_json.parse_task))

    async def trust_root(self) -> bytes:
        """The root certificate of the Swarm's own CA, PEM."""
        raw = await self._call(lambda client: client.inspect_swarm())
        return str(raw["TLSInfo"]["TrustRoot"]).encode()

    async def services(self, ids: Iterable[str] | None = None) -> tuple[Service, ...]:
        """All services, or those of the ids that exist."""
        filters = None if ids is None else {"id": sorted(ids)}
        return await self._list(self._services, "/services", filters)

    async def tasks(self, services: Iterable[str] | None = None) -> tuple[Task, ...]:
        """All tasks, or those of services; Rejected if one of these does not exist."""
        filters = None if services is None else {"service": sorted(services)}
        return await self._list(self._tasks, "/tasks", filters)

    async def nodes(self) -> tuple[Node, ...]:
        return await self._call(lambda client: tuple(map(from_json.parse_node, client.nodes())))

    async def networks(self) -> tuple[Network, ...]:
        """The networks of the Swarm; those that are a node's own are left out."""
        return await self._call(lambda client: tuple(map(from_json.parse_network, _swarm_networks(client))))

    async def secrets(self, ids: Iterable[str] | None = None) -> tuple[StoredSecret, ...]:
        """All secrets, or those of the ids that exist; Docker never gives their content."""
        filters = None if ids is None else {"id": sorted(ids)}
        return await self._call(lambda client: tuple(map(from_json.parse_secret, _listed(client.secrets, filters))))

    async def configs(self, ids: Iterable[str] | None = None) -> tuple[StoredSecret, ...]:
        """All configs, or those of the ids that exist. Docker has no way to leave their content out, of up to
        1 MB each: nothing keeps it."""
        filters = None if ids is None else {"id": sorted(ids)}
        return await self._call(lambda client: tuple(map(from_json.parse_config, _listed(client.configs, filters))))

    async def service_spec(self, id_: str) -> tuple[int, from_json.Json]:
        """Version and raw specification of a service, as `update_service` wants them."""
        raw = await self._call(lambda client: _inspected(client.inspect_service, id_))
        return int(raw["Version"]["Index"]), raw["Spec"]

    async def update_service(self, id_: str, version: int, spec: from_json.Json) -> None:
        """Replaces the whole specification of a service; Outdated when it has another version by now."""
        await self._call(lambda client: _update(client, id_, version, spec, self._timeout))

    async def create_secret(self, name: str, data: bytes, labels: Mapping[str, str]) -> str:
        """The id of a new secret; Rejected when there is one of that name."""
        made = await self._call(lambda client: client.create_secret(name, data, labels=dict(labels)))
        return str(made["ID"])

    async def remove_secret(self, id_: str) -> None:
        """Rejected while a service has it attached, and when it is not there."""
        await self._call(lambda client: client.remove_secret(id_))

    async def ask(
        self, method: str, path: str, params: Mapping[str, str] | None = None, body: object = None
    ) -> Any:
        """Any other call of the API, "/networks" and the like; the decoded answer, None when it is empty."""
        return await self._call(lambda client: _ask(client, (method, path), params or {}, body, self._timeout))

    @asynccontextmanager
    async def events(self, kinds: Iterable[Kind] = _WATCHED) -> AsyncIterator[Events]:
        """Hints at changes from now on; Unavailable when the stream can't be opened."""
        client = await self._call(lambda _: _connect(self._address, self._timeout))
        events = Events(client, self._timeout, kinds)
        try:
            await events.opened()
            yield events
        finally:
            await events.close()

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _list(
        self, known: Known[msgspec.Raw, _O], path: str, filters: dict[str, list[str]] | None
    ) -> tuple[_O, ...]:
        """The SDK would make Python's objects of all of the answer, which for 100,000 tasks takes seconds in which
        nothing else runs."""
        params = {} if filters is None else {"filters": orjson.dumps(filters).decode()}

        def read(client: docker.APIClient) -> tuple[_O, ...]:
            content = _content(client, ("GET", path), params, None, self._timeout)
            return known.read(from_json.split(content), filters is None)

        return await self._call(read)

    # ------------------------------------------------------------ in the thread

    async def _call(self, function: Callable[[docker.APIClient], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, function)

    def _run(self, function: Callable[[docker.APIClient], _T]) -> _T:
        try:
            if self._client is None:
                self._client = _connect(self._address, self._timeout)
            return function(self._client)
        except _FOREIGN as error:
            # The next call connects anew: behind the address there may be another daemon by then.
            client, self._client = self._client, None
            if client is not None:
                client.close()
            raise _mapped(error) from error


def _read(parse: Callable[[from_json.Json], _T]) -> Callable[[msgspec.Raw], _T]:
    return lambda raw: parse(from_json.load(raw))


class Events:
    """The event stream of a daemon, read by a thread of its own."""

    def __init__(self, client: docker.APIClient, timeout: int, kinds: Iterable[Kind]) -> None:
        self._client = client
        self._kinds = [kind.value for kind in kinds]
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._response: requests.Response | None = None
        self._hints: set[Hint] = set()
        self._opened = asyncio.Event()
        self._news = asyncio.Event()
        self._end: L7Error | None = None
        self._closed = False
        self._reader = threading.Thread(target=self._read, name="docker-events", daemon=True)
        self._reader.start()

    async def opened(self) -> None:
        """Wait until the daemon streams; raises Unavailable if it won't in time."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._opened.wait()
        except TimeoutError as error:
            raise Unavailable(f"Docker: no event stream in {self._timeout} s") from error
        if self._response is None and self._end is not None:
            raise self._end

    async def wait(self, timeout: float) -> frozenset[Hint]:
        """The hints since the last call; none after `timeout` seconds. Raises when the stream has ended."""
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return frozenset()
        hints = frozenset(self._hints)
        self._hints.clear()
        if self._end is None:
            self._news.clear()  # else the next call shall say so
        elif not hints:
            raise self._end
        return hints

    async def close(self) -> None:
        self._closed = True
        if self._response is not None and self._end is None:
            # It may have ended meanwhile, and has no socket any more then.
            with suppress(OSError, ValueError, RuntimeError):
                self._response.raw.shutdown()
        await asyncio.to_thread(self._reader.join, float(self._timeout))
        self._client.close()

    # ------------------------------------------------------------ in the thread

    def _read(self) -> None:
        end: L7Error = Unavailable("Docker ended the event stream")
        try:
            with self._open() as response:
                # Before the look at `_closed`, which `close` sets before it looks for the response: whoever
                # comes second ends the stream, also when the daemon answered only after all patience.
                self._response = response
                if self._closed:
                    return
                self._post(self._set_opened, None)
                for line in response.iter_lines():
                    raw = orjson.loads(line)
                    self._post(self._add, Hint(Kind(raw["Type"]), raw["Actor"]["ID"]))
        except _BROKEN_STREAM as error:
            end = _mapped(error)
            end.__cause__ = error
        finally:
            self._post(self._set_end, end)

    def _open(self) -> requests.Response:
        """The SDK's client is a session of `requests`; its own `events` leaves no way to close the stream."""
        filters = orjson.dumps({"type": self._kinds}).decode()
        response = self._client.get(
            f"{self._client.base_url}/v{self._client.api_version}/events",
            params={"since": str(int(time.time()) - _OVERLAP), "filters": filters},
            stream=True,
            timeout=(self._timeout, None),  # to connect, and between events
        )
        response.raise_for_status()
        return response

    def _post(self, function: Callable[[Any], None], value: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, value)

    def _set_opened(self, _: None) -> None:
        self._opened.set()

    def _add(self, hint: Hint) -> None:
        self._hints.add(hint)
        self._news.set()

    def _set_end(self, end: L7Error) -> None:
        self._end = end
        self._opened.set()
        self._news.set()


def _connect(address: Address, timeout: int) -> docker.APIClient:
    """A client that speaks the version of the API that the daemon does."""
    return _client(address, timeout, api_version(address, timeout))


def api_version(address: Address, timeout: int) -> str:
    """Asks the daemon. The SDK's own detection would run before the session can be told to leave REQUESTS_CA_BUNDLE
    and CURL_CA_BUNDLE alone, which override the CA given here."""
    probe = _client(address, timeout, docker.constants.DEFAULT_DOCKER_API_VERSION)
    try:
        return str(probe.version(api_version=False)["ApiVersion"])
    finally:
        probe.close()


def _client(address: Address, timeout: int, version: str) -> docker.APIClient:
    client = docker.APIClient(base_url=address.url, version=version, timeout=timeout, tls=tls_config(address))
    client.trust_env = False
    return client


def _listed(call: Callable[..., Any], filters: dict[str, list[str]] | None) -> list[Any]:
    listed: list[Any] = call(filters=filters)  # untyped in the SDK's stubs
    return listed


def _inspected(call: Callable[..., Any], id_: str) -> from_json.Json:
    inspected: from_json.Json = call(id_)  # untyped in the SDK's stubs
    return inspected


def _update(client: docker.APIClient, id_: str, version: int, spec: from_json.Json, timeout: int) -> None:
    """The SDK's own `update_service` knows only some of a specification's fields, and drops the others."""
    _ask(client, ("POST", f"/services/{id_}/update"), {"version": str(version)}, spec, timeout)


def _ask(
    client: docker.APIClient, call: tuple[str, str], params: Mapping[str, str], body: object, timeout: int
) -> Any:
    """For what the SDK has no method, or one that knows only some of the fields."""
    content = _content(client, call, params, body, timeout)
    return orjson.loads(content) if content else None


def _content(
    client: docker.APIClient, call: tuple[str, str], params: Mapping[str, str], body: object, timeout: int
) -> bytes:
    """The answer as it came."""
    url = f"{client.base_url}/v{client.api_version}{call[1]}"
    response = client.request(call[0], url, params=params, json=body, timeout=timeout)
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)
    return response.content


def _swarm_networks(client: docker.APIClient) -> list[Any]:
    """GET /networks hides that the Swarm could not be asked (no leader): it answers 200 with those that this
    node happens to hold. So the Swarm has to answer before it and after it."""
    client.inspect_swarm()
    listed = _listed(client.networks, {"scope": ["swarm"]})
    client.inspect_swarm()
    return listed


def tls_config(address: Address) -> docker.tls.TLSConfig | bool:
    """What the SDK wants to know. Raises ConfigError where a file is missing."""
    if not address.has_tls:
        return False
    if address.insecure:  # whoever asked for it was told; the library would tell with each request
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    pair = (address.tls_cert, address.tls_key) if address.tls_cert or address.tls_key else None
    try:
        return docker.tls.TLSConfig(client_cert=pair, ca_cert=address.tls_ca or None, verify=not address.insecure)
    except docker.errors.TLSParameterError as error:
        raise ConfigError("TLSCACert, TLSCert, TLSKey", str(error)) from error


def _mapped(error: Exception) -> L7Error:
    if isinstance(error, docker.errors.APIError) and error.is_client_error() and error.response is not None:
        request = error.response.request
        return Rejected(f"{request.method} {request.path_url}", error.explanation or str(error))
    if isinstance(error, docker.errors.APIError) and _OUTDATED in str(error.explanation):
        return Outdated(f"Docker: {error.explanation}")
    return Unavailable(f"Docker: {error}")
