"""The shell around the `acme` library: what is asked of an ACME server. It blocks, with timeouts: for threads.

The terms of service of the server are agreed to: whoever names it in the settings has read them. Private keys are
made here, live in memory, and are shown by no repr, log or error.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

import requests
from acme import challenges, crypto_util, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.errors import Error as JoseError
from josepy.jwa import ES256, ES384, ES512, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA

from l7 import __version__
from l7.config import AcmeSettings
from l7.kit.errors import ConfigError, ProtocolError, Rejected, Unavailable
from l7.labels.grammar import printable

TIMEOUT = 10
"""Seconds that the server may take to answer."""

_DETAIL = 400
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_AUTHORIZATION = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_NONCES = 4
_POLL = 3.0  # seconds at most for which one call looks again and again
_CURVES = {"P-256": ES256, "P-384": ES384, "P-521": ES512}


class Refused(Rejected):
    """The server said no. `kind`: its error type, such as "rateLimited"; `retry_after`: seconds until it wants to
    be asked again, 0 when it did not say."""

    def __init__(self, command: str, reply: str, kind: str = "", retry_after: float = 0.0) -> None:
        super().__init__(command, reply)
        self.kind = kind
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """The server can't answer now; `retry_after` as in Refused."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Challenge:
    """What proves a host: `http://<host>/.well-known/acme-challenge/<token>` answers with the key authorization."""

    token: str
    key_authorization: str
    _body: messages.ChallengeBody = field(repr=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and its private key, one PEM. Validity in seconds of Unix time."""

    host: str
    pem: bytes = field(repr=False)
    not_before: int
    not_after: int


class Client:
    """An account at an ACME server. `account`: path of its private key, PEM.

    `connect` first; then each `Order` may be followed by a thread of its own.
    """

    def __init__(self, settings: AcmeSettings, account: str, timeout: int = TIMEOUT) -> None:
        self._settings = settings
        self._path = account
        self._timeout = timeout
        self._lock = threading.Lock()
        self._known: tuple[JWK, messages.Directory, messages.RegistrationResource] | None = None

    def connect(self) -> None:
        """Finds or makes the account. Raises ConfigError for the account's key or the CA's file, Unavailable when
        the server cannot be asked, Refused when it does not want us."""
        with self._lock:
            if self._known is not None:
                return
            key = load_key(self._path)
            net = self._network(key)
            with _mapped("open an account", net):
                directory = ClientV2.get_directory(self._settings.directory, net)
                client = ClientV2(directory, net)
                if client.external_account_required():
                    raise Refused(
                        "open an account", "the server wants an external account binding, which l7 has none of"
                    )
                self._known = key, directory, self._registered(client)

    @property
    def connected(self) -> bool:
        """Whether the account is known."""
        return self._known is not None

    def forget(self) -> None:
        """`connect` asks again: the server may be another one, or have lost the account."""
        with self._lock:
            self._known = None

    def order(self, host: str) -> Order:
        """Asks for a certificate; raises as `connect`, which came before."""
        known = self._known
        if known is None:
            raise ProtocolError("an order before there is an account")
        key, directory, registration = known
        net = self._network(key)
        net.account = registration
        return Order(host, ClientV2(directory, net), key)

    def _registered(self, client: ClientV2) -> messages.RegistrationResource:
        """The account with this key, made if there is none. Its contact is brought up to date."""
        email = self._settings.email or None
        new = messages.NewRegistration.from_data(email=email, terms_of_service_agreed=True)
        try:
            return client.new_account(new)
        except errors.ConflictError as error:
            found = messages.RegistrationResource(body=messages.Registration(), uri=error.location)
        client.net.account = found
        if email:
            client.net.account = client.update_registration(found, messages.Registration.from_data(email=email))
        return client.net.account

    def _network(self, key: JWK) -> ClientNetwork:
        net = _Network(key, alg=_algorithm(key), user_agent=f"l7/{__version__}", timeout=self._timeout)
        if file := self._settings.ca_file:
            if not Path(file).is_file():
                raise ConfigError(f"[ACME] CAFile = {file!r}", "is not there: mount it in core")
            # requests takes a path here; acme hands it on as it is.
            net.verify_ssl = cast(bool, file)
        return net


class Order:
    """One certificate on its way. For one thread at a time; asking blocks at most for some seconds."""

    def __init__(self, host: str, client: ClientV2, account: JWK) -> None:
        self.host = host
        self._client = client
        self._account = account
        private = ec.generate_private_key(ec.SECP256R1())
        self._key = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with self._asking("order"):
            self._order = client.new_order(crypto_util.make_csr(self._key, [host]))

    def __repr__(self) -> str:
        return f"Order({self.host!r})"

    def close(self) -> None:
        """Ends the connections."""
        self._client.net.session.close()

    @property
    def challenges(self) -> tuple[Challenge, ...]:
        """What is to be answered; empty where the server knows from before that the host is ours."""
        pending = (each for each in self._order.authorizations if each.body.status == messages.STATUS_PENDING)
        return tuple(self._challenge(each) for each in pending)

    def answer(self, challenge: Challenge) -> None:
        """The server may look now."""
        with self._asking("answer the challenge"):
            self._client.answer_challenge(challenge._body, challenge._body.response(self._account))

    def validated(self) -> float:
        """Whether the server has seen what it wanted: 0.0 when it has, else seconds until it should be asked again.
        Raises Refused, with the server's own words, when it has not and gave up."""
        with self._asking("validate"):
            polled = [self._client.poll(each) for each in self._order.authorizations]
        found = [authorization for authorization, _ in polled]
        self._order = self._order.update(authorizations=found)
        for each in found:
            if each.body.status not in (messages.STATUS_VALID, messages.STATUS_PENDING):
                raise _invalid(each)
        if all(each.body.status == messages.STATUS_VALID for each in found):
            return 0.0
        return max(1.0, *(_retry_after(response) for _, response in polled))

    def finalize(self) -> None:
        """Hands in the request for the certificate."""
        try:
            with self._asking("finalize"):
                self._order = self._client.begin_finalization(self._order)
        except Refused as error:
            if error.kind != "orderNotReady":  # if it is not, `issued` hands it in again when it is
                raise

    def issued(self) -> Certificate | None:
        """The certificate, None while the server is at it."""
        deadline = datetime.now() + timedelta(seconds=_POLL)
        try:
            with self._asking("fetch the certificate"):
                self._order = self._client.poll_finalization(self._order, deadline)
        except _NotYet:
            return None
        return _certificate(self.host, self._order.fullchain_pem, self._key)

    def _challenge(self, authorization: messages.AuthorizationResource) -> Challenge:
        for each in authorization.body.challenges:
            if isinstance(each.chall, challenges.HTTP01):
                token, text = each.chall.encode("token"), each.chall.validation(self._account)
                # Both become a row of a map, so what is in them is not taken on trust.
                if _TOKEN.fullmatch(token) and _AUTHORIZATION.fullmatch(text):
                    return Challenge(token, text, each)
        raise Refused(f"order {self.host}", "the server offers no challenge of the kind http-01 for this host")

    def _asking(self, what: str) -> Any:
        return _mapped(f"{what} for {self.host}", self._client.net)


class _Network(ClientNetwork):
    """Asks again where the library gives up: a server may drop nonces as it likes (RFC 8555, section 6.5)."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(_NONCES):
            with suppress(_BadNonce):
                return self._posted(*args, **kwargs)
        return super().post(*args, **kwargs)

    def _posted(self, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            return super().post(*args, **kwargs)
        except messages.Error as error:
            if error.code == "badNonce":
                raise _BadNonce from error
            raise


class _BadNonce(Exception):
    """The server does not take the nonce that it gave."""


class _NotYet(Exception):
    """A bounded look ended without an outcome."""


def load_key(path: str) -> JWK:
    """The account's private key. Raises ConfigError, which says what to do."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            path,
            f"the key of the ACME account cannot be read ({error.strerror}): "
            "`l7 pki init` makes the Docker secret l7-acme-account; attach it to core's service",
        ) from error
    try:
        key = serialization.load_pem_private_key(data, password=None)
        # josepy would take anything that is no key as a shared secret.
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return JWKEC(key=key)
        if isinstance(key, rsa.RSAPrivateKey):
            return JWKRSA(key=key)
    except (ValueError, TypeError):
        pass  # Not even as a cause: a parser's text may have in it what it read.
    raise ConfigError(path, "is not a private EC or RSA key, PEM, without a passphrase")


def _algorithm(key: JWK) -> JWASignature:
    name = key.public_key().to_json().get("crv", "")
    return _CURVES.get(str(name), RS256)


def _certificate(host: str, chain: str, key: bytes) -> Certificate:
    try:
        first = x509.load_pem_x509_certificate(chain.encode())
    except ValueError as error:
        raise ProtocolError(f"what the ACME server gave for {host} is no certificate") from error
    begin, end = first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
    return Certificate(host, chain.encode().rstrip() + b"\n" + key, int(begin), int(end))


def _invalid(authorization: messages.AuthorizationResource) -> Refused:
    """Why the server does not take the host as proven, in its own words."""
    host = authorization.body.identifier.value
    said = [each.error for each in authorization.body.challenges if each.error is not None]
    return _refused(f"validate {host}", said[0]) if said else Refused(f"validate {host}", "the challenge failed")


def _refused(what: str, error: messages.Error, retry_after: float = 0.0) -> Refused:
    parts = [error, *(error.subproblems or ())]
    text = "; ".join(str(each.detail or each.title or each.typ) for each in parts)
    return Refused(what, printable(text, _DETAIL), error.code or "", retry_after)


class _LastError:
    """Remembers when the server wants to be asked again: the library keeps the body of an error only."""

    def __init__(self) -> None:
        self.retry_after = 0.0
        self.status = 0

    def __call__(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.status = response.status_code
        self.retry_after = _retry_after(response)


@contextmanager
def _mapped(what: str, net: ClientNetwork) -> Iterator[None]:
    """Errors of the library and of the network as l7's, once."""
    last = _LastError()
    net.session.hooks["response"] = [last]
    try:
        yield
    except errors.TimeoutError as error:
        raise _NotYet from error
    except errors.IssuanceError as error:
        raise _refused(what, error.error) from error
    except messages.Error as error:
        refused = _refused(what, error, last.retry_after)
        if last.status >= 500 or refused.kind == "badNonce":
            raise Overloaded(f"{what}: {refused.reply}", last.retry_after) from error
        raise refused from error
    except requests.RequestException as error:
        raise Overloaded(f"{what}: {printable(str(error), _DETAIL)}") from error
    except (errors.Error, JoseError, ValueError, KeyError, AttributeError) as error:
        # What the library stumbles over when it is no ACME server that answers.
        raise Overloaded(f"{what}: the answer cannot be read ({type(error).__name__})", last.retry_after) from error


def _retry_after(response: requests.Response) -> float:
    """Seconds; 0 when the header says nothing (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(float(text), 366 * 86400.0)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
