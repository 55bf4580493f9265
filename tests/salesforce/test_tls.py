"""TLS is verified, always; the only thing that can be changed is to trust one more authority."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sfsync.core.events import Position
from sfsync.errors import UnavailableError
from sfsync.salesforce.auth import ClientCredentials
from sfsync.salesforce.cometd import open_session
from sfsync.salesforce.connection import open_connection
from sfsync.salesforce.secret import Secret
from tests.salesforce.stub_org import CHANNEL, StubOrg, event, good

NOW = datetime.now(UTC)


SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority for one test, by the letter of RFC 5280, on which Python insists from 3.13 on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        certificate = (
            certificate_for(self.name, self.key.public_key())
            .issuer_name(self.name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(SIGNS_CERTIFICATES, critical=True)
            .add_extension(self.key_id, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, host: str, *, expired: bool = False) -> ssl.SSLContext:
        """Return a server context with a certificate for *host*."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        until = NOW + timedelta(days=-1 if expired else 1)
        certificate = (
            certificate_for(name, key.public_key(), until)
            .issuer_name(self.name)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self.key_id), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        pem = self.folder / "server.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


def certificate_for(
    name: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime = NOW + timedelta(days=1)
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=2))
        .not_valid_after(until)
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority whose certificate lies in a file."""
    return Authority(tmp_path)


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[StubOrg]:
    org = StubOrg()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", org.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=context).start()
    org.url = f"https://localhost:{runner.addresses[0][1]}"
    try:
        yield org
    finally:
        await runner.cleanup()


async def log_in(org: StubOrg, ca_file: Path | None) -> None:
    async with open_connection(ClientCredentials("client", Secret("s"), org.url), ca_file=ca_file):
        pass


async def test_extra_authority_is_trusted_by_login_rest_and_stream(authority: Authority) -> None:
    """A company's inspecting proxy has its own authority; the stream has its own sockets."""
    async with serving(authority.context("localhost")) as org:
        org.then("/meta/connect", good(), good(event(1)))
        credentials = ClientCredentials("client", Secret("s"), org.url)
        async with open_connection(credentials, ca_file=authority.file) as connection:
            await connection.clock_ms()
            async with open_session(connection, channel=CHANNEL, position=None) as session:
                assert [one.position for one in await session.receive()] == [Position(b"1")]


@pytest.mark.parametrize(
    ("host", "expired", "is_trusted"),
    [("localhost", False, False), ("localhost", True, True), ("other.example", False, True)],
    ids=["unknown authority", "expired", "wrong host"],
)
async def test_bad_certificate_stops_before_any_byte_is_sent(
    authority: Authority, host: str, expired: bool, is_trusted: bool
) -> None:
    """A secret sent to the wrong end cannot be taken back."""
    async with serving(authority.context(host, expired=expired)) as org:
        with pytest.raises(UnavailableError):
            await log_in(org, authority.file if is_trusted else None)
        assert not org.seen


def test_no_source_can_switch_verification_off() -> None:
    """The switch that does not exist cannot be left on."""
    sources = Path(__file__).parents[2] / "src" / "sfsync" / "salesforce"
    text = "\n".join(path.read_text() for path in sources.glob("*.py"))
    for switch in (
        "CERT_NONE",
        "verify=False",
        "ssl=False",
        "check_hostname = False",
        "_create_unverified_context",
    ):
        assert switch not in text
    assert "trust_env=False" in text
    assert "allow_redirects=True" not in text
