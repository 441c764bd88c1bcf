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

import h11
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
    """uvicorn's protocol, which gives up clients that take too long for the head of a request, or to take an answer.

    A head has its time from its first byte; until that comes, as long from the connection's begin or the last answer's end.
    A client that takes an answer slowly has all the time it wants, as long as it takes some of it meanwhile.
    """

    patience = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head: asyncio.TimerHandle | None = None
        self._answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._expect_head()
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._expect_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_taking()

    def resume_writing(self) -> None:
        _cancel(self._answer)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head)
        _cancel(self._answer)
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        _cancel(self._head)
        self._head = self.loop.call_later(self.patience, self._abort_unless_begun, self._untaken)

    def _abort_unless_begun(self, untaken: int) -> None:
        if self.cycle is None or self.cycle.response_complete:
            if self._untaken < untaken:
                self._expect_head()
            else:
                self.transport.abort()  # to close it would wait for a client that takes nothing

    def _expect_taking(self) -> None:
        self._answer = self.loop.call_later(self.patience, self._abort_unless_taken, self._untaken)

    def _abort_unless_taken(self, untaken: int) -> None:
        if self._untaken < untaken:
            self._expect_taking()
        else:
            self.transport.abort()

    @property
    def _untaken(self) -> int:
        """Bytes of answers that the client has still to take."""
        return self.transport.get_write_buffer_size()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


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
