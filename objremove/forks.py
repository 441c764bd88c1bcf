"""What a forked child needs: threads do not survive a fork, and libraries that count on theirs wait for them forever.

Loaded once and then forked (`multiprocessing.Pool`, loaders of training data) is how Linux programs share a model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

_cv2_threads = 0
_in_child: list[Callable[[], None]] = []


def in_child(renew: Callable[[], None]) -> Callable[[], None]:
    """Call `renew` in every child that is forked from now on: for locks that a thread of the parent may have held."""
    _in_child.append(renew)
    return renew


def _before() -> None:
    """OpenCV's pool of threads is taken down first (a child that then so much as sets their number would wait forever), and is built
    anew at the parent's next need."""
    global _cv2_threads
    if "cv2" in sys.modules:
        cv2 = sys.modules["cv2"]
        _cv2_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)


def _after_in_parent() -> None:
    if _cv2_threads:
        sys.modules["cv2"].setNumThreads(_cv2_threads)


def _after_in_child() -> None:
    """One thread for torch: OpenMP's others are gone, and it waits for them."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    for renew in _in_child:
        renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
