"""The server as a process: a socket, a private folder for what must be on disk for a moment, and an end without remains."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from objremove.errors import ObjRemoveError, UsageError
from objremove.server.app import create_app
from objremove.server.settings import Settings

_CONNECTIONS = 100
_HEADER_BYTES = 32_768
_GRACE = 5


def serve(settings: Settings, port: int, *, opened: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: of the server.
        port: 0 takes one that is free.
        opened: called with the server's address once it answers.

    Raises:
        ObjRemoveError: the address cannot be had.
    """
    with _signals_as_exits(), private_folder(), _socket(settings.host, port) as listening:
        host, actual = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{actual}/"

        class Header(_Protocol):
            patience = settings.patience

        config = uvicorn.Config(
            create_app(settings),
            http=Header,
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_keep_alive=round(min(settings.patience, 15)),
            timeout_graceful_shutdown=_GRACE,
        )
        _Server(config, lambda: opened(address)).run(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it answers."""

    def __init__(self, config: uvicorn.Config, opened: Callable[[], None]) -> None:
        super().__init__(config)
        self._opened = opened

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            threading.Thread(target=self._opened, daemon=True).start()


class _Protocol(H11Protocol):
    """uvicorn's protocol, which closes connections that do not begin with a whole request head in time."""

    patience = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(self.patience, self._close_unless_begun)

    def _close_unless_begun(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


@contextmanager
def private_folder() -> Iterator[str]:
    """The folder for everything temporary in this process meanwhile, readable by its owner only; gone afterwards.

    Large uploads pass through it as files without a name, and the JPEG encoder writes its scans there.
    """
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="objremove-serve-", ignore_cleanup_errors=True) as folder:  # mode 0700
        tempfile.tempdir = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before


@contextmanager
def _signals_as_exits() -> Iterator[None]:
    """SIGTERM ends the process as an exception does, so that nothing is left behind; uvicorn repeats it when it is done."""

    def leave(number: int, frame: FrameType | None) -> Any:
        sys.exit(0)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _socket(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=128)
    except socket.gaierror:
        raise UsageError(f"--host {host}: no such address") from None
    except OverflowError:
        raise UsageError(f"--port {port}: take a number from 0 to 65535") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ObjRemoveError(f"port {port} is taken: name another with --port, or 0 for any that is free") from None
        raise ObjRemoveError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from None
    with listening:
        yield listening
