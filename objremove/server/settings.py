"""What a server is told when it starts: where it listens, whom it answers, how much it takes on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from objremove.errors import UsageError

LEAST_TOKEN = 16
"""Characters of a token; shorter ones can be guessed."""


@dataclass(frozen=True)
class Settings:
    """Everything that the server is told.

    Attributes:
        host: address that it listens at; any but the machine's own loopback needs a token.
        token: what clients must send as `Authorization: Bearer TOKEN`; None: no token is asked for.
        allow_hosts: names besides the address itself by which clients may call it (the `Host` header).
        allow_origins: other sites whose pages may use it from a browser, as in `https://example.org`.
        queue: requests that may wait for the models; more are refused with 429.
        max_megabytes: larger request bodies are refused while they arrive.
        max_megapixels: larger photos are refused before they are decoded.
        timeout: seconds that the work on one request may take.
        patience: seconds without a byte from a client (or to it) before it is given up.
        keep_megabytes: photos, results and masks that are kept; the least recently used ones make room.
        keep_minutes: after so long without use they are forgotten.
        segmenter, inpainter, prompter, device, precision, threads, seed: as for `Remover`; what `auto` stands for here.
        offline: no client may have weights fetched.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    queue: int = 8
    max_megabytes: float = 100.0
    max_megapixels: float = 100.0
    timeout: float = 300.0
    patience: float = 30.0
    keep_megabytes: float = 1024.0
    keep_minutes: float = 60.0
    segmenter: str = "auto"
    inpainter: str = "auto"
    prompter: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    seed: int = 0
    offline: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for what would be unsafe or means nothing."""
        if self.token is not None and (len(self.token) < LEAST_TOKEN or not self.token.isascii()):
            raise UsageError(
                f"--token: take {LEAST_TOKEN} or more ASCII characters, as `openssl rand -hex 16` makes them"
            )
        if not is_loopback(self.host) and self.token is None:
            raise UsageError(f"--host {self.host}: others can reach it, so it needs --token or OBJREMOVE_TOKEN")
        for name in (
            "queue",
            "max_megabytes",
            "max_megapixels",
            "timeout",
            "patience",
            "keep_megabytes",
            "keep_minutes",
        ):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)}: take a number above 0")

    @property
    def max_bytes(self) -> int:
        """Bytes of one request body."""
        return round(self.max_megabytes * 1e6)

    @property
    def keep_bytes(self) -> int:
        """Bytes of photos and results that are kept; the files of jobs in line may take as much again."""
        return round(self.keep_megabytes * 1e6)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name other than `localhost` is taken as one that others can."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
