"""The refusals of the token endpoint: an object with `error` and `error_description`, never the REST API's array.

Source: Salesforce Help, "OAuth 2.0 Authorization Errors"; texts that real clients match on.
"""

from typing import Any


class OAuthError(Exception):
    """One refusal of the token endpoint."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status

    def body(self) -> dict[str, Any]:
        """Return the reply's JSON object."""
        return {"error": self.error, "error_description": self.description}


REFUSALS: dict[str, tuple[str, str]] = {
    "authentication_failure": ("invalid_grant", "authentication failure"),
    "wrong_domain": ("invalid_grant", "request not supported on this domain"),
    "no_run_as_user": ("invalid_grant", "no client credentials user enabled"),
    "not_approved": ("invalid_grant", "user hasn't approved this consumer"),
    "invalid_assertion": ("invalid_grant", "invalid assertion"),
    "wrong_audience": ("invalid_grant", "audience is invalid"),
    "expired_assertion": ("invalid_grant", "expired authorization code"),
    "expired_refresh_token": ("invalid_grant", "expired access/refresh token"),
    "ip_restricted": ("invalid_grant", "ip restricted"),
    "unknown_client": ("invalid_client_id", "client identifier invalid"),
    "wrong_secret": ("invalid_client", "invalid client credentials"),
    "not_admin_approved": ("invalid_app_access", "user is not admin approved to access this app"),
    "unknown_grant": ("unsupported_grant_type", "grant type not supported"),
    "inactive_user": ("inactive_user", "user is inactive"),
    "inactive_org": ("inactive_org", "organization is inactive"),
    "rate_limited": ("rate_limit_exceeded", "login rate exceeded"),
    "server_error": ("server_error", "unknown error"),
}


def refusal(name: str, *, status: int = 400) -> OAuthError:
    """Return the refusal called *name* in `REFUSALS`."""
    error, description = REFUSALS[name]
    return OAuthError(error, description, status=status)
