"""The models of a server: loaded once, shared by all requests, chosen by name from the registry only, never downloaded in passing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from objremove import models, plugins
from objremove.errors import UsageError
from objremove.inpainting import Inpainter
from objremove.instances import Instance
from objremove.models import Kind
from objremove.segmentation import Prompter, SecondLook, Segmenter
from objremove.server.problems import Problem
from objremove.server.settings import Settings
from objremove.shelf import Shelf, chosen_from
from objremove.types import Pixels

if TYPE_CHECKING:
    import torch

_LOADED_OF_A_KIND = 2
_KEPT_SEARCHES = 8
_KEPT_MASKS = 100_000_000  # bytes of all that the kept searches of one photo found
Search = tuple[str, str, frozenset[str], float | None]
"""A search of one photo: by which model, which look it was, for which classes, at which confidence."""


@dataclass(frozen=True)
class Choice:
    """Which models a request takes: a name of the registry for each kind, or `auto` for what the server was started with."""

    segmenter: str = "auto"
    prompter: str = "auto"
    inpainter: str = "auto"

    def check(self) -> None:
        """Raise for what is no model of its kind, or is not on this machine.

        Raises:
            UsageError: no model of the registry, or of another kind. A path is no name.
            Problem: 409, its weights are not here.
        """
        kinds: tuple[tuple[Kind, str], ...] = (
            ("segmenter", self.segmenter),
            ("prompter", self.prompter),
            ("inpainter", self.inpainter),
        )
        for kind, name in kinds:
            if name == "auto":
                continue
            if name not in models.names(kind):
                raise UsageError(f"no {kind} is called so: take auto, {', '.join(models.names(kind))}")
            if models.get(name).needs_file and models.locate(name) is None:
                raise Problem(409, "model_missing", f"{name} is not on this machine: POST /v1/models/{name}/pull first")


def check_named(settings: Settings) -> None:
    """Raise UsageError where the server is told to take a model that is neither in the registry, nor a plug-in, nor a file."""
    added = {"segmenter": plugins.names(plugins.SEGMENTERS), "inpainter": plugins.names(plugins.INPAINTERS)}
    for kind in ("segmenter", "prompter", "inpainter"):
        name: str = getattr(settings, kind)
        if name != "auto" and name not in added.get(kind, ()):
            models.locate(name)


class Models:
    """Every model that was asked for, two of a kind at most. Used by the worker's thread alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._defaults = {kind: getattr(settings, kind) for kind in ("segmenter", "prompter", "inpainter")}
        self._shelves: OrderedDict[tuple[str, str], Shelf] = OrderedDict()
        self._here = chosen_from()

    def shelf(self, kind: str, name: str) -> Shelf:
        """The shelf that holds the model of that name; `auto` is what the server was started with.

        What `auto` stands for holds for a whole job, and is settled anew for those after weights have come or gone.
        """
        if (here := chosen_from()) != self._here:
            self._here = here
            self._shelves.clear()
        key = (kind, self._defaults[kind] if name == "auto" else name)
        if key not in self._shelves:
            of_kind = [other for other in self._shelves if other[0] == kind]
            for other in of_kind[: max(0, len(of_kind) - _LOADED_OF_A_KIND + 1)]:
                del self._shelves[other]
            self._shelves[key] = self._make(*key)
        self._shelves.move_to_end(key)
        return self._shelves[key]

    def _make(self, kind: str, name: str) -> Shelf:
        settings = self._settings
        names = {"segmenter": "auto", "prompter": "auto", "inpainter": "auto", kind: name}
        return Shelf(
            **names,
            device=settings.device,
            precision=settings.precision,
            # The server's own choice may be fetched when it starts; a client's must be here, or be pulled in a job of its own.
            offline=settings.offline or name != self._defaults[kind],
            threads=settings.threads,
            seed=settings.seed,
            on_download=None,
        )


class Searches:
    """What segmenters found in one photo at the last searches: as many as `_KEPT_SEARCHES` and `_KEPT_MASKS` allow, but always one.

    Used by the worker's thread alone.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[Search, list[Instance]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def once(self, search: Search, look: Callable[[], list[Instance]]) -> list[Instance]:
        """What that search found; `look` does it where it is not remembered."""
        if search not in self._found:
            self._found[search] = look()
        self._found.move_to_end(search)
        while len(self) > 1 and (len(self) > _KEPT_SEARCHES or self._nbytes() > _KEPT_MASKS):
            self._found.popitem(last=False)
        return list(self._found[search])

    def _nbytes(self) -> int:
        return sum(one.crop.nbytes for found in self._found.values() for one in found)


class JobShelf(Shelf):
    """The shelf of one job: shared models, with a memory of what was found in its photo, and word of what is going on.

    Args:
        shared: the server's models.
        choice: which of them.
        searches: of the job's photo.
        enter: told the stage (`find` or `refine`) before a model works; may raise to cancel.

    Attributes:
        used: SHA-256 of the finding models that were asked for, by name.
    """

    def __init__(self, shared: Models, choice: Choice, searches: Searches, enter: Callable[[str], None]) -> None:
        self._parts = {
            kind: shared.shelf(kind, getattr(choice, kind)) for kind in ("segmenter", "prompter", "inpainter")
        }
        self._searches, self._enter = searches, enter
        self.used: dict[str, str | None] = {}

    @cached_property
    def device(self) -> torch.device:
        """As `Shelf.device`."""
        return self._parts["inpainter"].device

    def segmenter(self, labels: Iterable[str] = ()) -> Segmenter:
        """As `Shelf.segmenter`."""
        segmenter = _Remembering(self._parts["segmenter"].segmenter(labels), self._searches, self._enter)
        self.used |= dict([self.identity(segmenter)])
        return segmenter

    @property
    def prompter_name(self) -> str:
        """As `Shelf.prompter_name`."""
        return self._parts["prompter"].prompter_name

    def prompter(self) -> Prompter:
        """As `Shelf.prompter`."""
        prompter = _Announcing(self._parts["prompter"].prompter(), self._enter)
        self.used |= dict([self.identity(prompter)])
        return prompter

    def inpainter(self) -> Inpainter:
        """As `Shelf.inpainter`."""
        return self._parts["inpainter"].inpainter()

    def identity(self, model: Segmenter | Prompter | Inpainter) -> tuple[str, str | None]:
        """As `Shelf.identity`."""
        if isinstance(model, _Remembering):
            return self._parts["segmenter"].identity(model.inner)
        if isinstance(model, _Announcing):
            return self._parts["prompter"].identity(model.inner)
        return self._parts["inpainter"].identity(model)


class _Look(Protocol):
    def __call__(
        self, pixels: Pixels, labels: Collection[str], *, confidence: float | None = None
    ) -> list[Instance]: ...


class _Remembering:
    """A segmenter that is asked only once for the same classes of one photo."""

    def __init__(self, inner: Segmenter, searches: Searches, enter: Callable[[str], None]) -> None:
        self.inner, self._searches, self._enter = inner, searches, enter
        self.name, self.classes = inner.name, inner.classes

    def find(self, pixels: Pixels, labels: Collection[str], *, confidence: float | None = None) -> list[Instance]:
        return self._once("find", self.inner.find, pixels, labels, confidence)

    def look_again(self, pixels: Pixels, labels: Collection[str], *, confidence: float | None = None) -> list[Instance]:
        if not isinstance(self.inner, SecondLook):
            return []
        return self._once("look again", self.inner.look_again, pixels, labels, confidence)

    def _once(
        self, look: str, method: _Look, pixels: Pixels, labels: Collection[str], confidence: float | None
    ) -> list[Instance]:
        self._enter("find")
        search = (self.name, look, frozenset(labels), confidence)
        return self._searches.once(search, lambda: method(pixels, labels, confidence=confidence))


class _Announcing:
    """A prompter that says when it works; SAM itself remembers the last photos' embeddings."""

    def __init__(self, inner: Prompter, enter: Callable[[str], None]) -> None:
        self.inner, self._enter = inner, enter
        self.name = inner.name

    def select(
        self,
        pixels: Pixels,
        *,
        points: Sequence[tuple[int, int, bool]] = (),
        boxes: Sequence[tuple[int, int, int, int]] = (),
    ) -> list[Instance]:
        self._enter("find")
        return self.inner.select(pixels, points=points, boxes=boxes)

    def refine(self, pixels: Pixels, instances: Sequence[Instance]) -> list[Instance]:
        self._enter("refine")
        return self.inner.refine(pixels, instances)
