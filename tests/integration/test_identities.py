"""Identities: who is given a new certificate, for what, and that it is used from then on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from l7.deploy import pki
from l7.deploy.issuer import Issuer
from l7.kit import identity as module
from l7.kit import tls
from l7.kit.backoff import Backoff
from l7.kit.channel import open_channel
from l7.kit.errors import ConfigError, Rejected
from l7.kit.identity import Identity
from l7.kit.stream import Stream
from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc
from tests.integration.pki_parts import Pki, code_of, core_running, fetched, renewed, service_running, until

SHORT = timedelta(seconds=3)


@pytest.fixture
def installation(tmp_path: Path) -> Pki:
    return Pki(tmp_path, pki.new_authority())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE", 0.0)
    monkeypatch.setattr(module, "BACKOFF", Backoff(first=0.02, limit=0.05))


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None, name: str = "") -> bytes:
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def certificate_in(files: tls.TlsFiles) -> x509.Certificate:
    return pki.certificate_of(Path(files.identity).read_bytes())


def uris(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


# ---------------------------------------------------------------- what core signs


@pytest.mark.parametrize("role", ["proxy", "extension"])
async def test_a_caller_gets_exactly_its_own_identity_for_its_new_key(installation: Pki, role: str) -> None:
    files = installation.core()
    caller = installation.proxy("east") if role == "proxy" else installation.extension("east")
    key = ec.generate_private_key(ec.SECP256R1())
    async with core_running(files, installation.issuer(files)) as address:
        # What the request says about who it is for counts for nothing.
        answer = await renewed(address, caller, request(key, "l7://core"))
    new, old = pki.certificate_of(answer.certificates), certificate_in(caller)
    assert uris(new) == uris(old) == [f"l7://cluster/east/{role}"]
    assert new.extensions.get_extension_for_class(x509.SubjectAlternativeName) == (
        old.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    )
    assert new.public_key() == key.public_key()
    assert not new.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert pki.issued_by(answer.certificates, installation.authority.certificate)
    assert answer.authorities == installation.authority.certificate
    left = new.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)


async def test_core_and_strangers_are_given_nothing(installation: Pki, tmp_path: Path) -> None:
    files = installation.core()
    odd = pki.Subject("l7://cluster/a/b/proxy", ())
    key = ec.generate_private_key(ec.SECP256R1())
    crooked = pki.sign(installation.authority, odd, key.public_key(), datetime.now(UTC), SHORT * 100)
    stranger = installation.files("stranger", pki.proxy_identity(pki.new_authority(), ""))
    async with core_running(files, installation.issuer(files)) as address:
        for identity in (files, installation.files("odd", crooked + pki._key_pem(key))):
            assert await code_of(renewed(address, identity, request())) is grpc.StatusCode.PERMISSION_DENIED
        assert await code_of(renewed(address, stranger, request())) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_carries_two_identities_is_given_nothing(installation: Pki) -> None:
    assert tls.peer_uri({"peer_uri": [b"l7://cluster/a/proxy", b"l7://cluster/b/proxy"]}) == ""
    assert tls.peer_uri({"peer_uri": [b"l7://cluster/a/proxy"]}) == "l7://cluster/a/proxy"
    assert tls.peer_uri({}) == ""


async def test_a_plain_connection_is_given_nothing(installation: Pki, tmp_path: Path) -> None:
    """On loopback or a unix socket there is nobody who proved anything."""
    issuer = installation.issuer(installation.core())
    async with core_running(None, issuer, f"unix:{tmp_path}/core.sock") as address:
        assert await code_of(renewed(address, None, request())) is grpc.StatusCode.PERMISSION_DENIED


async def test_without_the_key_of_the_ca_nothing_is_signed(installation: Pki) -> None:
    files = installation.core()
    async with core_running(files, None) as address:
        code = await code_of(renewed(address, installation.proxy(), request()))
        assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_key_of_another_ca_signs_nothing(installation: Pki, tmp_path: Path) -> None:
    files = installation.core()
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(pki.new_authority().key)
    async with core_running(files, Issuer(files, str(wrong))) as address:
        code = await code_of(renewed(address, installation.proxy(), request()))
        assert code is grpc.StatusCode.FAILED_PRECONDITION


def tampered() -> bytes:
    """The signature's last bit turned."""
    read = request()
    return read[:-1] + bytes([read[-1] ^ 1])


BAD = {
    "nothing": lambda: b"",
    "noise": lambda: b"\x30\x03abc",
    "another kind of key": lambda: request(rsa.generate_private_key(65537, 2048)),
    "another curve": lambda: request(ec.generate_private_key(ec.SECP384R1())),
    "somebody else's key": tampered,
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_request_is_refused(installation: Pki, what: str) -> None:
    with pytest.raises(Rejected):
        pki.requested_key(BAD[what]())
    files = installation.core()
    async with core_running(files, installation.issuer(files)) as address:
        code = await code_of(renewed(address, installation.proxy(), BAD[what]()))
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_extension_service_may_not_follow_its_cluster(installation: Pki) -> None:
    files = installation.core()
    async with core_running(files, None) as address:
        async with open_channel(address, installation.extension(), own=True) as channel:
            stub = sync_pb2_grpc.SyncServiceStub(channel)  # type: ignore[no-untyped-call]
            call = stub.Sync()
            await call.write(pb.SyncRequest(hello=pb.Hello(instance="h1")))
            assert await code_of(call.read()) is grpc.StatusCode.PERMISSION_DENIED


# ---------------------------------------------------------------- what its owner does with it


async def running(identity: Identity) -> tuple[asyncio.Event, asyncio.Task[None]]:
    stop = asyncio.Event()
    return stop, asyncio.create_task(identity.run(stop))


async def test_the_first_identity_is_renewed_and_so_are_the_next(installation: Pki, tmp_path: Path) -> None:
    first, place = installation.proxy("east"), tmp_path / "identity"
    files = installation.core()
    async with core_running(files, installation.issuer(files, SHORT)) as address:
        identity = Identity(first, place, address)
        stop, task = await running(identity)
        seen = set[int]()
        while len(seen) < 3:
            await until(lambda: certificate_in(identity.files()).serial_number not in seen)
            seen.add(certificate_in(identity.files()).serial_number)
        stop.set()
        await asyncio.wait_for(task, 10)
    assert uris(certificate_in(identity.files())) == ["l7://cluster/east/proxy"]
    for file in (identity.files().ca, identity.files().identity):
        assert Path(file).stat().st_mode & 0o777 == 0o600
    assert len(list(place.iterdir())) == 2, "old ones are deleted"


async def test_a_restarted_process_goes_on_with_what_was_renewed(installation: Pki, tmp_path: Path) -> None:
    first, place, files = installation.proxy(), tmp_path / "identity", installation.core()
    async with core_running(files, installation.issuer(files)) as address:
        identity = Identity(first, place, address)
        stop, task = await running(identity)
        await until(lambda: identity.files() != first)
        stop.set()
        await task
    again = Identity(first, place, "localhost:1")
    again.load()
    assert again.files() == identity.files()
    other = Identity(installation.proxy("other"), place, "localhost:1")
    other.load()
    assert other.files() == other.first, "another secret begins anew"
    assert list(place.iterdir()) == []


async def test_an_expired_renewal_gives_way_to_the_first_identity(installation: Pki, tmp_path: Path) -> None:
    first, files = installation.proxy(), installation.core()
    async with core_running(files, installation.issuer(files, timedelta(seconds=1))) as address:
        identity = Identity(first, tmp_path / "identity", address)
        stop, task = await running(identity)
        await until(lambda: identity.files() != first)
        stop.set()
        await task
    await until(lambda: identity.files() == first)
    again = Identity(first, tmp_path / "identity", "localhost:1")
    again.load()
    assert again.files() == first


@pytest.mark.parametrize("key", [True, False])
async def test_core_that_cannot_renew_is_asked_again(installation: Pki, tmp_path: Path, key: bool) -> None:
    """It is away, or has no key: the first identity stays, and all goes on."""
    first, files = installation.proxy(), installation.core()
    address = f"unix:{tmp_path}/core.sock"
    identity = Identity(first, tmp_path / "identity", address)
    stop, task = await running(identity)
    if not key:
        async with core_running(files, None, address):
            await until(lambda: identity._said == "FAILED_PRECONDITION")
            assert identity.files() == first
    async with core_running(files, installation.issuer(files), address):
        await until(lambda: identity.files() != first)
    stop.set()
    await task


async def test_an_answer_for_another_key_is_not_taken(installation: Pki, tmp_path: Path) -> None:
    class Confused(Issuer):
        def renew(self, uri: str, names: tuple[str, ...], request_: bytes) -> tuple[bytes, bytes]:
            return super().renew(uri, names, request())

    first, files = installation.proxy(), installation.core()
    good = installation.issuer(files)
    async with core_running(files, Confused(files, good.key)) as address:
        identity = Identity(first, tmp_path / "identity", address)
        stop, task = await running(identity)
        await until(lambda: identity._said == "ProtocolError")
        assert identity.files() == first
        stop.set()
        await task


async def test_servers_show_and_trust_what_is_newest_without_a_restart(installation: Pki, tmp_path: Path) -> None:
    """The extension service renews itself at core, and a new connection gets to see the new certificate."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    files, proxy = installation.core(), installation.proxy()
    async with core_running(files, installation.issuer(files)) as core:
        async with service_running(secrets, installation.extension(), core=core) as (service, address):
            assert service.identity is not None
            first, identity = service.identity.first, service.identity
            await until(lambda: identity.files() != first)
            shown = await asyncio.to_thread(shown_by, address, proxy)
            assert shown == certificate_in(identity.files())
            assert await fetched(address, proxy) == {}


async def test_core_shows_what_is_in_its_files_now(installation: Pki) -> None:
    files, proxy = installation.core(), installation.proxy()
    async with core_running(files, installation.issuer(files)) as address:
        before = await asyncio.to_thread(shown_by, address, proxy)
        assert installation.core() == files  # writes a new one
        assert await asyncio.to_thread(shown_by, address, proxy) == certificate_in(files) != before
        Path(files.identity).write_text("half wr")
        assert await code_of(renewed(address, proxy, request())) is not grpc.StatusCode.UNAVAILABLE


def shown_by(address: str, files: tls.TlsFiles) -> x509.Certificate:
    """The certificate that a server shows to the holder of an identity."""
    import socket
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.identity)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain) as secure:
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


async def test_the_sync_stream_tells_which_cas_core_trusts(installation: Pki, tmp_path: Path) -> None:
    files, heard = installation.core(), asyncio.Queue[str]()
    async with core_running(files, None) as address:
        proxy = installation.proxy()
        hello = pb.Hello(instance="h1")
        stream = Stream(address, lambda: proxy, lambda: hello, lambda update, data: None)
        stream.on_authorities = heard.put_nowait
        task = asyncio.create_task(stream.run(asyncio.Event()))
        digest = await asyncio.wait_for(heard.get(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert digest == tls.authorities_digest(installation.authority.certificate)


async def test_other_cas_at_core_are_a_reason_to_renew(installation: Pki, tmp_path: Path) -> None:
    first, files = installation.proxy(), installation.core()
    async with core_running(files, installation.issuer(files)) as address:
        identity = Identity(first, tmp_path / "identity", address)
        stop, task = await running(identity)
        await until(lambda: identity.files() != first)
        before = identity.files()
        identity.core_trusts(tls.authorities_digest(installation.authority.certificate))
        identity.core_trusts("")
        await asyncio.sleep(0.1)
        assert identity.files() == before, "they are the ones that we know"
        both = installation.authority.certificate + pki.new_authority().certificate
        Path(files.ca).write_bytes(both)
        identity.core_trusts(tls.authorities_digest(both))
        await until(lambda: identity.files() != before)
        assert Path(identity.files().ca).read_bytes() == both
        stop.set()
        await task


def test_the_digest_of_cas_depends_on_neither_order_nor_spelling() -> None:
    one, two = pki.new_authority().certificate, pki.new_authority().certificate
    digest = tls.authorities_digest(one + two)
    assert digest == tls.authorities_digest(b"# two\n" + two.replace(b"\n", b"\r\n") + b"\n\n" + one)
    assert digest != tls.authorities_digest(one)


def test_a_ca_without_certificates_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Identity(tls.TlsFiles(str(tmp_path / "ca"), str(tmp_path / "id")), tmp_path / "run", "core:8080").load()
