"""A folder that fills: which of its photos have come to rest, and when to look again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec

from objremove.folder.plan import Plan
from objremove.runs.checksums import fingerprint
from objremove.runs.layout import Item

SETTLE = 2.0
"""A file is left alone until its size and time of change have stayed the same for so many seconds: it may still be being copied."""

LOOK_AGAIN = 30.0
"""Even where the system tells of changes, look after so many seconds: network disks tell of none."""


def rounds(
    make_plan: Callable[[], Plan], folders: Sequence[str], stop: threading.Event, *, settle: float = SETTLE
) -> Iterator[Plan]:
    """Plans of the photos that are at rest, anew whenever there is another, until `stop` is set.

    Args:
        make_plan: looks at the folders.
        folders: what to watch.
        stop: ends it.
        settle: seconds.
    """
    seen = Settled(settle)
    wake = _wakes(folders, stop, settle)
    known: set[tuple[str, object]] = set()
    while not stop.is_set():
        plan, moving = seen.at_rest(make_plan())
        states = {(item.name, seen.state(item)) for item in plan.items}
        if states - known:
            known = states
            yield plan
        wake(settle if moving else LOOK_AGAIN)


class Settled:
    """Tells photos that have come to rest from such as are being written.

    Args:
        settle: seconds for which a photo must have stayed as it is.
    """

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._seen: dict[str, tuple[object, float]] = {}

    def state(self, item: Item) -> object:
        """How a photo looked at the last look."""
        return self._seen[item.name][0]

    def at_rest(self, plan: Plan) -> tuple[Plan, bool]:
        """The plan without the photos that are not at rest, and whether there are any of those."""
        now, resting = time.monotonic(), []
        seen: dict[str, tuple[object, float]] = {}
        for item in plan.items:
            print_ = fingerprint(item.source, digest=False)
            state = None if print_ is None else (print_["size"], print_["mtime_ns"])
            before, since = self._seen.get(item.name, (None, now))
            seen[item.name] = (state, since if state == before else now)
            if state is not None and state == before and now - since >= self._settle:
                resting.append(item)
        self._seen = seen
        return replace(plan, items=tuple(resting)), len(resting) < len(plan.items)


def _wakes(folders: Sequence[str], stop: threading.Event, settle: float) -> Callable[[float], None]:
    """A function that waits so many seconds, or less where something changes; without watchfiles never more than `settle`."""
    if find_spec("watchfiles") is None:

        def sleep(seconds: float) -> None:
            stop.wait(min(seconds, settle))

        return sleep

    import watchfiles

    def wait(seconds: float) -> None:
        changes = watchfiles.watch(
            *folders, stop_event=stop, rust_timeout=int(seconds * 1000), yield_on_timeout=True, raise_interrupt=False
        )
        try:
            next(changes, None)
        except FileNotFoundError:  # a disk or share that is gone may come back
            stop.wait(min(seconds, settle))

    return wait
