"""The org's own errors: each knows the code, message and HTTP status that Salesforce answers with.

Source: REST API Developer Guide, "Status Codes and Error Responses", and the core data types' StatusCode list.
"""

from collections.abc import Sequence
from typing import Any

_STATUS = {
    "NOT_FOUND": 404,
    "ENTITY_IS_DELETED": 404,
    "INVALID_SESSION_ID": 401,
    "REQUEST_LIMIT_EXCEEDED": 403,
    "METHOD_NOT_ALLOWED": 405,
    "API_VERSION_MISMATCH": 409,
    "UNSUPPORTED_API_VERSION": 410,
    "REQUEST_TOO_LARGE": 413,
    "URI_TOO_LONG": 414,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "UNKNOWN_EXCEPTION": 500,
}


class ApiError(Exception):
    """One element of an error reply."""

    def __init__(self, code: str, message: str, fields: Sequence[str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = None if fields is None else list(fields)

    @property
    def status(self) -> int:
        """The HTTP status of a reply that says only this."""
        return _STATUS.get(self.code, 400)

    def body(self) -> list[dict[str, Any]]:
        """Return the error array of a single-request reply."""
        element: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            element["fields"] = self.fields
        return [element]

    def dml(self) -> dict[str, Any]:
        """Return the form used inside the results of a collection request."""
        return {"statusCode": self.code, "message": self.message, "fields": self.fields or []}


class DmlError(ApiError):
    """A write that the org refuses; its body always carries `fields`."""

    def __init__(self, code: str, message: str, fields: Sequence[str] = ()) -> None:
        super().__init__(code, message, fields)


def not_found() -> ApiError:
    """Return the error for an id or address that leads nowhere."""
    return ApiError("NOT_FOUND", "The requested resource does not exist")
