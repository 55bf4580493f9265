"""Turn the `salesforce` section into the credentials of its flow.

Why: Salesforce may answer a refresh with a new refresh token and void the old one at once. The new one is put
into the file that the old one came from before anything uses it, by rename, so that a crash leaves one whole
token. A token that came by the environment cannot be kept that way; `sfsync check` says so.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import ConfigError
from ..salesforce.auth import ClientCredentials, Credentials, JwtBearer, LegacyPassword, RefreshToken
from ..salesforce.secret import Secret
from .model import SalesforceSettings, SecretText


def credentials(settings: SalesforceSettings) -> Credentials:
    """Return the credentials of `settings.flow`; `load_settings` has made sure that they are complete."""
    match settings.flow:
        case "jwt":
            return JwtBearer(
                client_id=settings.client_id,
                username=settings.username or "",
                private_key=_secret(settings.private_key),
                login_url=settings.login_url,
                audience=settings.audience,
            )
        case "client_credentials":
            return ClientCredentials(
                client_id=settings.client_id,
                client_secret=_secret(settings.client_secret),
                login_url=settings.login_url,
            )
        case "refresh_token":
            return _refresh_token(settings)
        case "legacy_password":
            return LegacyPassword(
                client_id=settings.client_id,
                client_secret=_secret(settings.client_secret),
                username=settings.username or "",
                password=_secret(settings.password),
                security_token=Secret(""),
                login_url=settings.login_url,
            )


def _refresh_token(settings: SalesforceSettings) -> RefreshToken:
    save: Callable[[Secret], None] | None = None
    if settings.refresh_token_file is not None:
        save = partial(save_secret, settings.refresh_token_file.expanduser())
    return RefreshToken(
        client_id=settings.client_id,
        refresh_token=_secret(settings.refresh_token),
        client_secret=_secret(settings.client_secret) if settings.client_secret else None,
        login_url=settings.login_url,
        save_rotated=save,
    )


def _secret(text: SecretText | None) -> Secret:
    return Secret(text.get_secret_value() if text else "")


def save_secret(path: Path, secret: Secret) -> None:
    """Replace the secret in *path* durably. Raises `ConfigError` when the directory cannot be written."""
    target = path.resolve()
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(secret.reveal() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).replace(target)
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError(
            f"salesforce.refresh_token_file: the rotated token cannot be written to {path} ({error.strerror}); "
            "make its directory writable for this user, and log in anew"
        ) from error
