"""Key material written to the state directory: a private CA with a certificate for localhost, and a JWT key pair.

Why: some clients insist on HTTPS, and a JWT login is only tried honestly with a key that the org really checks. Made
afresh for each state directory and reused while it exists; a key pair in the repository would be found by scanners
and trusted by mistake.
"""

import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the CA certificate and the server's certificate and key lie."""

    ca_file: Path
    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class JwtFiles:
    """Where the key pair for the JWT bearer flow lies."""

    private_key_file: Path
    public_key_file: Path


def ensure_tls(state_dir: Path) -> TlsFiles:
    """Return the TLS files of *state_dir*, making them if the certificate is missing or about to end."""
    files = TlsFiles(state_dir / "ca.pem", state_dir / "server.pem", state_dir / "server-key.pem")
    if not all(path.exists() for path in (files.ca_file, files.cert_file, files.key_file)) or _is_ending(
        files
    ):
        state_dir.mkdir(parents=True, exist_ok=True)
        _write_tls(files)
    return files


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context the HTTPS listener uses."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert_file, files.key_file)
    return context


def ensure_jwt_keys(state_dir: Path) -> JwtFiles:
    """Return the JWT key pair of *state_dir*, making it if missing."""
    files = JwtFiles(state_dir / "jwt-private.pem", state_dir / "jwt-public.pem")
    if not (files.private_key_file.exists() and files.public_key_file.exists()):
        state_dir.mkdir(parents=True, exist_ok=True)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        _write_private(files.private_key_file, key)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        files.public_key_file.write_bytes(public)
    return files


def is_public_key(path: Path) -> bool:
    """Tell whether *path* is a readable RSA public key in PEM."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(key, rsa.RSAPublicKey)


def _is_ending(files: TlsFiles) -> bool:
    certificate = x509.load_pem_x509_certificate(files.cert_file.read_bytes())
    return certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=1)


def _write_tls(files: TlsFiles) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("sfsync simulated org CA")
    ca = _authority(ca_key, ca_name)
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = _server(server_key.public_key(), ca, ca_key)
    files.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files.cert_file.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    _write_private(files.key_file, server_key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority(key: ec.EllipticCurvePrivateKey, name: x509.Name) -> x509.Certificate:
    usage = x509.KeyUsage(
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
    return (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(
    public_key: ec.EllipticCurvePublicKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    return (
        _builder(_name("localhost"), ca.subject, public_key)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """Write *key* readable by its owner only, from the first byte on."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
