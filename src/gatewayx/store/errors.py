"""Why the store does not do what it is asked; nothing has changed then."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used as it is; the text says why and holds no secret."""


class StoreUnavailable(StoreError):
    """The database does not answer."""


class NotStored(StoreError):
    """Nothing is stored under this name."""


class AlreadyExists(StoreError):
    """Something is stored under this name already."""


class VersionConflict(StoreError):
    """Somebody else has changed it since it was read.

    Attributes:
        version: The one that is stored now; 0 when none is.
    """

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message)
        self.version = version
