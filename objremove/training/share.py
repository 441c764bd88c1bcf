"""What of this machine is this process's: where `torchrun` started several, they share it."""

from __future__ import annotations

import os


def local_processes() -> int:
    """How many processes of the run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this is the process that writes and speaks; also known before the processes have met."""
    return os.environ.get("RANK", "0") == "0"


def processors() -> int:
    """This process's even share of the processors that it may run on, 1 at least."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, here // local_processes())
