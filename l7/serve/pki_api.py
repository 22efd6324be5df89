"""PkiService: the parts of an installation renew their own certificates here.

The caller's certificate says what it is, and that is all that it gets a new certificate for.
"""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

import grpc

from l7.kit import logs, tls
from l7.kit.errors import ConfigError, Rejected
from l7.v1 import pki_pb2 as pb
from l7.v1 import pki_pb2_grpc as rpc

_log = logs.get("serve.pki")

SERVICE = "l7.v1.PkiService"


class Issuer(Protocol):
    """Who has the CA's key, see `l7.deploy.issuer`."""

    def renew(self, uri: str, names: tuple[str, ...], request: bytes) -> tuple[bytes, bytes]:
        """(certificates, authorities) as in l7.v1.RenewResponse, for the key in a PKCS #10 `request`.

        Raises Rejected for a request that cannot be signed, ConfigError when CA or key cannot be used.
        """


class PkiApi(rpc.PkiServiceServicer):
    """Signs for who proves an identity already. `issuer` None: core was not given the CA's key."""

    def __init__(self, issuer: Issuer | None) -> None:
        self.issuer = issuer

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:
        """A certificate for the caller's own identity, and all CAs to be trusted."""
        auth = context.auth_context()
        uri = tls.peer_uri(auth)
        names = None if tls.is_plain(auth) else tls.dns_names(uri)
        if names is None:
            _log.warning("renewal forbidden", identity=uri, peer=context.peer())
            reason = "only the certificate of a proxy or an extension service is renewed"
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, reason)
        if self.issuer is None:
            reason = "core has no CA key (--tls-ca-key): certificates are not renewed"
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, reason)
        try:
            certificates, authorities = self.issuer.renew(uri, names, request.certificate_request)
        except Rejected as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except ConfigError as error:
            _log.error("renewal failed", identity=uri, error=str(error))
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, "the CA of core cannot be used, see its log")
        _log.info("identity renewed", identity=uri, peer=context.peer())
        return pb.RenewResponse(certificates=certificates, authorities=authorities)


async def _abort(context: Any, code: grpc.StatusCode, details: str) -> NoReturn:
    await context.abort(code, details)
    raise AssertionError("abort raises")
