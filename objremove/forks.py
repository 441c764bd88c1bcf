"""What a forked child needs: threads do not survive a fork, and who counts on theirs, or on a lock that one held, waits forever.

Loaded once and then forked (`multiprocessing.Pool`, loaders of training data) is how Linux programs share a model.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, overload

T = TypeVar("T")


class Renewable(Protocol):
    """What holds locks."""

    def renew(self) -> None:
        """Make them anew: in a forked child nobody opens those that a thread of the parent held."""
        ...


class cached(Generic[T]):
    """`functools.cached_property` as it is from Python 3.12 on: without a lock that all instances of a class share."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> cached[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> cached[T] | T:
        if instance is None:
            return self
        value: T = vars(instance).setdefault(self._name, self._make(instance))
        return value


def renew_in_children(holder: Renewable) -> None:
    """Call its `renew` in every child that is forked from now on, as long as it lives."""
    _holders.add(holder)


class _OpenCv:
    """OpenCV's pool of threads is taken down before a fork (a child that then so much as sets their number would wait forever), and is
    built anew at the parent's next need. Several threads may fork at once: the first one takes down, the last one restores."""

    def __init__(self) -> None:
        self._lock, self._forks, self._threads = threading.Lock(), 0, 0

    def before(self) -> None:
        with self._lock:
            if "cv2" in sys.modules:
                if not self._forks:
                    self._threads = sys.modules["cv2"].getNumThreads()
                sys.modules["cv2"].setNumThreads(1)
            self._forks += 1

    def after_in_parent(self) -> None:
        with self._lock:
            self._forks -= 1
            if self._threads and not self._forks:
                sys.modules["cv2"].setNumThreads(self._threads)

    def renew(self) -> None:
        self._lock, self._forks = threading.Lock(), 0


def _after_in_child() -> None:
    for holder in list(_holders):
        holder.renew()
    # One thread for torch: OpenMP's others are gone, and it waits for them. It may be half imported.
    set_num_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if set_num_threads:
        set_num_threads(1)


_holders: weakref.WeakSet[Renewable] = weakref.WeakSet()
_opencv = _OpenCv()
renew_in_children(_opencv)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_opencv.before, after_in_parent=_opencv.after_in_parent, after_in_child=_after_in_child)
