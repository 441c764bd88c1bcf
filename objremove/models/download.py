"""One file over HTTP: gone on with where it broke off, and no longer than it may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import requests

from objremove.errors import ModelError

Progress = Callable[[int, int], None]
"""Called with the bytes received so far and the bytes in all (0 where the server does not say)."""

_CHUNK = 1 << 14  # what a chunk lacks when a connection ends is lost
_TIMEOUT = 30.0  # seconds without a byte
_LATER = (408, 425, 429)  # timeout, too early, too many requests: the next attempt may be served
_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class BrokenOff(ModelError):
    """Some of the file came, and is kept to be gone on with."""


def receive(url: str, path: Path, most: int | None, progress: Progress | None) -> None:
    """Bring the bytes at `url` to `path`, after those that are there already; again, as long as each attempt brings some.

    Args:
        url: what to ask for.
        path: where to; what a broken download left there is gone on with, where the server can.
        most: bytes that it may have; None: any.
        progress: called while bytes arrive.

    Raises:
        BrokenOff: less than all came.
        ModelError: nothing came, or more than may be.
        OSError: it cannot be written.
    """
    while True:
        before = _size(path)
        try:
            _request(url, path, most, progress)
            return
        except _BROKEN as error:
            done = _size(path)
            if done and done <= before:
                raise BrokenOff(f"broke off after {done:,} bytes, which are kept: run it again to go on") from error
            if not done:
                raise ModelError(_reason(error)) from error
        except requests.HTTPError as error:
            answer, done = error.response, _size(path)
            what = f"{answer.status_code} {answer.reason}" if answer is not None else "refused"
            if done and answer is not None and (answer.status_code in _LATER or answer.status_code >= 500):
                raise BrokenOff(f"{what} after {done:,} bytes, which are kept: run it again to go on") from error
            raise ModelError(what) from error
        except requests.RequestException as error:
            raise ModelError(" ".join(str(error).split())[:200] or type(error).__name__) from error


def _request(url: str, path: Path, most: int | None, progress: Progress | None) -> None:
    """One request for what is missing; what comes is appended, or takes the place of all where the server sends all."""
    done = _size(path)
    asked = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=asked, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable and done:
            if answer.headers.get("Content-Range", "") == f"bytes */{done}":
                return  # whole already: it was not made use of before
            path.unlink()  # longer than the file, or of another: begin anew
            raise requests.ConnectionError("nothing is left to send")
        answer.raise_for_status()
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0
        length = int(answer.headers.get("Content-Length", 0))
        total = done + length if length else 0
        with path.open("ab" if done else "wb") as sink:
            for chunk in answer.iter_content(_CHUNK):
                done += len(chunk)
                if most is not None and done > most:
                    raise ModelError(f"sends more than {most:,} bytes: it is not the file")
                sink.write(chunk)
                if progress:
                    progress(done, total)
    if done < total:
        raise requests.ConnectionError("the server stopped sending")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return " ".join(str(error).split())[:200]
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not let it through: look at HTTPS_PROXY"
    return "no answer in time" if isinstance(error, requests.Timeout) else "cannot be reached: is there a network?"
