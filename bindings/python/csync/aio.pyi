from types import TracebackType
from typing import Any

from csync import Batch, Change, Replica, Result, Verification

__all__ = ["Subscription", "pull", "push", "subscribe", "sync", "verify"]

async def sync(db: Replica, url: str, *, token: str | None = None, **options: Any) -> Result: ...
async def pull(db: Replica, url: str, *, token: str | None = None, **options: Any) -> Result: ...
async def push(db: Replica, url: str, *, token: str | None = None, **options: Any) -> Result: ...
async def verify(
    db: Replica, url: str, *, repair: bool = False, limit: int = 1000, token: str | None = None
) -> Verification: ...

class Subscription:
    closed: bool
    version: int | None
    def __init__(
        self,
        url: str,
        table: str | None = None,
        pk: dict[str, Any] | str | None = None,
        *,
        since: int | None = None,
        token: str | None = None,
    ) -> None: ...
    async def next(self, timeout: float | None = None) -> Batch | None: ...
    async def close(self) -> None: ...
    async def __aenter__(self) -> Subscription: ...
    async def __aexit__(
        self, *exc_info: type[BaseException] | BaseException | TracebackType | None
    ) -> None: ...
    def __aiter__(self) -> Subscription: ...
    async def __anext__(self) -> Change: ...

def subscribe(
    url: str,
    table: str | None = None,
    pk: dict[str, Any] | str | None = None,
    *,
    since: int | None = None,
    token: str | None = None,
) -> Subscription: ...
