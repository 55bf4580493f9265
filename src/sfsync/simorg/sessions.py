"""Who is logged in: access tokens, refresh tokens and their revocation.

Why: REST, Bulk and CometD must agree at once that a token is void, so there is one register of tokens. Idleness is
measured by the machine's clock, not the org's: moving the org's clock by three days to age events is no reason to log
everybody out.

Source: OAuth flows of Salesforce Help; session settings (two hours of idleness).
"""

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfsync.simorg.org import Org

SCHEMES = ("bearer", "oauth")


@dataclass(slots=True)
class Session:
    """One access token and whom it stands for."""

    token: str
    user_id: str
    client_id: str
    scope: str
    issued_at_ms: int
    used_at: float


class Sessions:
    """The register of one org's tokens."""

    def __init__(self, org: "Org") -> None:
        self._org = org
        self._by_token: dict[str, Session] = {}
        # Refresh tokens by text: the user they stand for, and whether they still are good.
        self._refresh: dict[str, tuple[str, bool]] = {}

    def issue(self, user_id: str, client_id: str = "", scope: str = "api refresh_token") -> Session:
        """Log a user in and return the new session."""
        token = f"{self._org.world.org_id[:15]}!AQ{secrets.token_urlsafe(32)}.{secrets.token_urlsafe(40)}"
        session = Session(token, user_id, client_id, scope, self._org.clock.now_ms(), time.monotonic())
        self._by_token[token] = session
        return session

    def check(self, authorization: str | None) -> Session | None:
        """Return the session that an `Authorization` header stands for, and note that it was used."""
        scheme, _, token = (authorization or "").partition(" ")
        return self.find(token.strip()) if scheme.lower() in SCHEMES else None

    def find(self, token: str) -> Session | None:
        """Return the live session of an access token, and note that it was used."""
        session = self._by_token.get(token)
        now = time.monotonic()
        if session is None or now - session.used_at > self._org.settings.session_timeout_s:
            return None
        session.used_at = now
        return session

    def revoke(self, token: str | None = None) -> int:
        """Void one access token, or all; held polls are answered at once. Return how many were voided."""
        doomed = [token] if token in self._by_token else []
        if token is None:
            doomed = list(self._by_token)
        for each in doomed:
            del self._by_token[each]
        self._org.bus.wake()
        return len(doomed)

    def issue_refresh_token(self, user_id: str) -> str:
        """Return a new refresh token for a user."""
        token = f"5Aep{secrets.token_urlsafe(60)}"
        self._refresh[token] = (user_id, True)
        return token

    def refresh_user(self, token: str) -> str | None:
        """Return the user of a good refresh token; a rotated one that comes back voids every other, as a theft would."""
        user_id, is_good = self._refresh.get(token, (None, False))
        if user_id is not None and not is_good:
            self._refresh = {other: (user, False) for other, (user, _) in self._refresh.items()}
        return user_id if is_good else None

    def retire_refresh_token(self, token: str) -> bool:
        """Void a refresh token (rotated or revoked); return whether it was good."""
        user_id, is_good = self._refresh.get(token, ("", False))
        if is_good:
            self._refresh[token] = (user_id, False)
        return is_good

    def stats(self) -> dict[str, int]:
        """Return how many tokens are out, for the control API."""
        return {
            "tokens": len(self._by_token),
            "refresh_tokens": sum(good for _, good in self._refresh.values()),
        }
