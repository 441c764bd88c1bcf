"""`Remover`: the whole road from a photo and a request to the photo without what was named.

    photo -> targets -> segmentation -> masks -> inpainting -> photo

This is the only place that knows the whole road. It loads its models once, on first need, and may be used from many threads.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, overload

from objremove import models
from objremove.arguments import check
from objremove.errors import ModelError, UsageError
from objremove.inpainting import Inpainter
from objremove.inpainting.fill import Filling, Progress, fill_windows
from objremove.instances import Instance, by_falling_area, check_sizes, left_of, union
from objremove.masks import Dilation, Hole, build_hole, own_masks
from objremove.photo import Photo
from objremove.request import Request
from objremove.result import Result
from objremove.segmentation import Prompter, Segmenter
from objremove.segmentation.second_look import found_again, look_again
from objremove.shelf import EMBEDDED_PROMPTER, Shelf
from objremove.targets import Targets, absent, check_known, choose, parse_targets, says_all
from objremove.types import AnyArray, Pixels
from objremove.work import Steps, Work

if TYPE_CHECKING:
    from objremove.pipeline import Outcome

__all__ = ["PhotoLike", "Remover", "Work", "remove"]

PhotoLike = Any
"""A path, bytes, PIL image, (H, W[, C]) array in RGB order, CHW tensor, or an opened `Photo`."""


class Remover:
    """Removes objects from photos; loads each model once, on first need. Threads may share it, and forked children: torch has one
    thread in them, for its others do not survive a fork.

    Args:
        segmenter: a name of `objremove models list`, a plug-in, a weight file, or `auto`: the best that is on this machine.
        inpainter: likewise.
        prompter: what draws masks for points and boxes and sharpens outlines: `sam_vit_b` and its like, `grabcut`, or `auto`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32` or `bf16`.
        confidence: least score in 0..1 of what counts as found; None takes the segmenter's own default.
        dilate: growth of each object: `auto`, pixels, or `N%` of its size.
        feather: width in pixels of the soft edge in the grown ring; None: chosen by the growth.
        second_look: take it that a class which is named is in the photo, and look again for one of which nothing sure was
            found. For many photos that may be without it, False removes fewer things by mistake.
        refine_masks: sharpen outlines with SAM; None: where its weights are on this machine.
        offline: never download, not even a model that is named.
        threads: processor threads of torch and OpenCV, one number for the whole process; None leaves theirs. Beside a shelf, which has
            said that, only how many photos `map` works on at a time.
        seed: for inpainters that draw random numbers.
        max_megapixels: larger files and PIL images are refused before they are decoded.
        on_download: called with (bytes received, bytes in all) while weights are fetched.
        shelf: models that others share. Which they are, and where and how they run, was said when it was made; it is not said here again.

    Raises:
        UsageError: an argument that means nothing, or means nothing beside a shelf; a device that isn't there is found out at first need.
        ModelError: masks shall be refined, and there is no SAM.
    """

    def __init__(
        self,
        segmenter: str | os.PathLike[str] = "auto",
        inpainter: str | os.PathLike[str] = "auto",
        *,
        prompter: str | os.PathLike[str] = "auto",
        device: str = "auto",
        precision: str = "auto",
        confidence: float | None = None,
        dilate: str | float = "auto",
        feather: int | None = None,
        second_look: bool = True,
        refine_masks: bool | None = None,
        offline: bool = False,
        threads: int | None = None,
        seed: int = 0,
        max_megapixels: float = 250.0,
        on_download: Callable[[int, int], None] | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        check("confidence", confidence, Real, lambda value: 0 <= value <= 1, "a number from 0 to 1", optional=True)
        check("feather", feather, Integral, lambda value: value >= 0, "0 or more whole pixels", optional=True)
        check("seed", seed, Integral, lambda value: 0 <= value < 2**31, f"a whole number from 0 to {2**31 - 1}")
        check("threads", threads, Integral, lambda value: value >= 1, "1 or more", optional=True)
        check("max_megapixels", max_megapixels, Real, lambda value: value > 0, "a number above 0")
        check("device", device, object, lambda value: value is not None, "a name such as cpu or cuda:0")
        check("precision", precision, str, lambda value: True, "auto, fp32 or bf16")
        for purpose, name in (("segmenter", segmenter), ("prompter", prompter), ("inpainter", inpainter)):
            known = "a name of `objremove models list`, or a weight file"
            check(purpose, name, (str, os.PathLike), lambda value: bool(os.fspath(value)), known)
        check("shelf", shelf, Shelf, lambda value: True, "a Shelf, such as another Remover's", optional=True)
        models: dict[str, Any] = {
            "segmenter": os.fspath(segmenter),
            "prompter": os.fspath(prompter),
            "inpainter": os.fspath(inpainter),
            "device": str(device),
            "precision": precision,
            "offline": offline,
            "seed": seed,
            "on_download": on_download,
        }
        unsaid = inspect.signature(Remover.__init__).parameters
        said = [name for name, value in models.items() if value != unsaid[name].default]
        if shelf is not None and said:
            raise UsageError(
                f"{', '.join(said)} beside a shelf: its models were chosen when it was made; leave out either"
            )
        self.shelf = shelf or Shelf(**models, threads=threads)
        self.confidence, self.dilate = confidence, Dilation.parse(dilate)
        self.feather = None if feather is None else int(feather)
        self.refine_masks, self.max_megapixels, self.threads = refine_masks, max_megapixels, threads
        self.second_look = second_look
        if refine_masks and self.shelf.prompter_name == EMBEDDED_PROMPTER:
            raise ModelError("--refine-masks needs SAM weights, and none are here: objremove models pull sam_vit_b")

    # ------------------------------------------------------------------ the road

    def __call__(
        self,
        photo: PhotoLike,
        remove: str | int | Iterable[str | int] = (),
        *,
        keep: str | Iterable[str] = (),
        points: Iterable[Any] = (),
        boxes: Iterable[Any] = (),
        masks: Iterable[AnyArray] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Remove what is named, pointed at or masked.

        Args:
            photo: see `PhotoLike`.
            remove: class names, in the grammar of `objremove.targets`.
            keep: what of that shall stay, in the same grammar, or `largest`, `center`.
            points: `"x,y"`, `"x,y,-"`, (x, y) or (x, y, positive): one object for all of them.
            boxes: `"x0,y0,x1,y1"` or (x0, y0, x1, y1): one object for each.
            masks: (H, W[, C]) arrays, white removes.
            progress: called with (windows done, windows in all); may raise to cancel.

        Raises:
            UsageError, PhotoError, ModelError: one line each.
        """
        return self._run(photo, Request(remove, keep, points, boxes, masks), progress)

    def prepare(
        self,
        remove: str | int | Iterable[str | int] = (),
        *,
        keep: str | Iterable[str] = (),
        points: Iterable[Any] = (),
        boxes: Iterable[Any] = (),
    ) -> dict[str, tuple[str, str | None]]:
        """Load the models that such a request needs, and raise what is wrong with the request itself, before any photo is opened.

        Returns (name, SHA-256 of the weights or None) of each model by what it is for: `segmenter`, `prompter`, `inpainter`.
        """
        targets = parse_targets(remove, keep=keep, points=points, boxes=boxes, known=self._known(remove, keep))
        models: dict[str, Segmenter | Prompter | Inpainter] = {"inpainter": self.shelf.inpainter()}
        if targets.remove:
            models["segmenter"] = segmenter = self.shelf.segmenter(targets.labels)
            check_known(targets.labels, segmenter.classes, segmenter.name)
        if targets.points or targets.boxes or (targets.remove and self._refines):
            models["prompter"] = self.shelf.prompter()
        return {purpose: self.shelf.identity(model) for purpose, model in models.items()}

    def find(self, photo: PhotoLike, remove: str | int | Iterable[str | int] = "all") -> list[Instance]:
        """The objects of the classes named, every class that the segmenter knows by default: in the order of their numbers
        (`objremove.targets.numbered`), by falling area, those that only a second look found last.
        """
        opened, steps, remove = self.open(photo), Steps(), Request(remove).remove
        targets = parse_targets(remove, known=self._known(remove))
        found = self._found(opened.pixels, targets, steps, named=not says_all(remove))
        return self._refined(opened.pixels, choose(found, targets), steps)

    def find_more(
        self, photo: PhotoLike, remove: str | int | Iterable[str | int], known: Sequence[Instance]
    ) -> list[Instance]:
        """What naming classes finds beside `known`, what a first look found of them: the answer of the second look, by falling area.

        For who has looked for all classes, and then chooses one.
        """
        opened, remove = self.open(photo), Request(remove).remove
        labels = parse_targets(remove, known=self._known(remove)).labels
        segmenter = self.shelf.segmenter(labels)
        check_known(labels, segmenter.classes, segmenter.name)
        seen = look_again(segmenter, opened.pixels, labels, known, confidence=self.confidence)
        return self._refined(opened.pixels, by_falling_area(seen), Steps())

    def fill(
        self, photo: PhotoLike, mask: AnyArray, *, dilate: str | float = 0, progress: Progress | None = None
    ) -> Result:
        """Fill one's own mask, (H, W[, C]) of bool, integers or floats, white (or True) removes, grown by `dilate`.

        Raises:
            UsageError, PhotoError, ModelError: one line each.
        """
        return self._run(photo, Request(masks=(mask,), dilate=dilate), progress)

    @overload
    def map(
        self,
        photos: Iterable[PhotoLike],
        remove: str | int | Iterable[str | int] = ...,
        *,
        errors: Literal["raise"] = ...,
        workers: int | None = ...,
        **request: Any,
    ) -> Iterator[Result]: ...

    @overload
    def map(
        self,
        photos: Iterable[PhotoLike],
        remove: str | int | Iterable[str | int] = ...,
        *,
        errors: Literal["yield"],
        workers: int | None = ...,
        **request: Any,
    ) -> Iterator[Result | Exception]: ...

    def map(
        self,
        photos: Iterable[PhotoLike],
        remove: str | int | Iterable[str | int] = (),
        *,
        errors: Literal["raise", "yield"] = "raise",
        workers: int | None = None,
        **request: Any,
    ) -> Iterator[Result | Exception]:
        """The same request for many photos, several at a time, the results in the photos' order.

        Args:
            photos: see `PhotoLike`; read as they are needed.
            remove: class names.
            errors: what a photo that fails gives: `raise` raises its error and ends the iteration, `yield` gives the error
                in the result's place and goes on.
            workers: see `objremove.pipeline.run`.
            **request: the other fields of `Request`.
        """
        from objremove import pipeline

        if errors not in ("raise", "yield"):
            raise UsageError(f"errors {errors!r}: take 'raise' or 'yield'")
        if _is_one_photo(photos):
            raise UsageError(f"{type(photos).__name__} is one photo: give a list of photos, or call the Remover itself")
        same = Request(remove, **request)
        jobs = (pipeline.Job(number, photo, same) for number, photo in enumerate(photos))
        return _results(pipeline.run(self, jobs, workers=workers, ordered=True), errors)

    def open(self, photo: PhotoLike) -> Photo:
        """The photo, decoded; raises PhotoError where it cannot be."""
        return photo if isinstance(photo, Photo) else Photo.open(photo, max_megapixels=self.max_megapixels)

    # ------------------------------------------------------------------ its stages

    def start(self, photo: PhotoLike, request: Request) -> Work:
        """The first half of the road: the photo decoded, what shall go found, the hole built, its windows planned.

        What is left is to fill the windows of `Work.filling` with `inpainter`, and to `finish`. `objremove.pipeline` does so
        for many photos at a time.

        Raises:
            UsageError, PhotoError, ModelError: one line each.
        """
        steps = Steps()
        with steps.clock.stage("read"):
            opened = self.open(photo)
        remove, keep = request.remove, request.keep
        targets = parse_targets(
            remove, keep=keep, points=request.points, boxes=request.boxes, known=self._known(remove, keep)
        )
        targets.check_inside(opened.size)
        check_sizes((*(request.instances or ()), *request.spare), opened.size)
        masks = list(request.masks)
        own, staying = own_masks(masks, opened.size), own_masks(request.keep_masks, opened.size)
        given = [*(request.instances or ()), *own]
        if masks and not own:
            steps.notes.append("the mask is black all over: nothing goes for it")
        if not (targets.remove or targets.points or targets.boxes or masks or request.instances is not None):
            raise UsageError("nothing to remove was named: give class names, points, boxes or a mask")
        found = self._found(opened.pixels, targets, steps, named=not says_all(remove))
        steps.notes += absent(found, targets)
        chosen = choose(found, targets)
        steps.notes += found_again(found, chosen)
        kept = [*(one for one in found if one not in chosen), *request.spare]
        refined = self._refined(opened.pixels, chosen, steps)
        wanted = [*refined, *self._prompted(opened.pixels, targets, steps), *given]
        going = by_falling_area(left_of(wanted, staying))
        dilate = self.dilate if request.dilate is None else request.dilate
        # What extends an object is part of it: it may stay where only its number was not named, but it keeps nothing off.
        spare = [*(one for one in kept if not one.extends), *staying]
        hole = build_hole(going, opened.size, spare=spare, dilate=dilate, feather=self.feather)
        return Work(opened, hole, tuple(going), tuple(kept), self._planned(opened, hole, spare, steps), steps)

    def inpainter(self) -> Inpainter:
        """What fills the windows of every `Work`."""
        return self.shelf.inpainter()

    def finish(self, work: Work) -> Result:
        """The last step of the road, when all windows are filled."""
        return work.result()

    def complete(self, work: Work, progress: Progress | None = None) -> Result:
        """The second half of the road, for one photo: its windows filled, and the last step."""
        if work.filling is not None:
            with work.steps.clock.stage("fill"):
                fill_windows(work.filling, self.inpainter(), progress=progress)
        return self.finish(work)

    def _run(self, photo: PhotoLike, request: Request, progress: Progress | None) -> Result:
        """The whole road, for one photo."""
        return self.complete(self.start(photo, request), progress)

    def _planned(self, photo: Photo, hole: Hole, spare: Sequence[Instance], steps: Steps) -> Filling | None:
        """The windows of the hole; None where nothing goes. What is behind it is filled neither from what nobody sees nor from what
        stays before it."""
        if not hole.area:
            return None
        inpainter = self.inpainter()
        steps.models.append(self.shelf.identity(inpainter))
        hidden = union(spare, photo.size) if spare else None
        if photo.alpha is not None:
            hidden = photo.alpha == 0 if hidden is None else hidden | (photo.alpha == 0)
        with steps.clock.stage("fill"):
            return Filling(photo.pixels, hole, inpainter, hidden=hidden)

    def _found(self, pixels: Pixels, targets: Targets, steps: Steps, *, named: bool) -> list[Instance]:
        """All objects of the classes that the targets name; `named`: by their own names, and not by `all`."""
        if not targets.remove:
            return []
        segmenter = self.shelf.segmenter(targets.labels)
        check_known(targets.labels, segmenter.classes, segmenter.name)
        steps.models.append(self.shelf.identity(segmenter))
        with steps.clock.stage("find"):
            found = segmenter.find(pixels, targets.labels, confidence=self.confidence)
            if not (named and self.second_look):
                return found
            kept = {target.label for target in targets.keep}
            # Who keeps some of what was found chooses among it: what a second look adds might hold the one that stays.
            chosen = {one.label for one in found if targets.keep_words or one.label in kept}
            labels = {target.label for target in targets.remove} - chosen
            staying = [one for one in found if one.label in kept]
            return [*found, *look_again(segmenter, pixels, labels, found, staying=staying, confidence=self.confidence)]

    def _prompted(self, pixels: Pixels, targets: Targets, steps: Steps) -> list[Instance]:
        """What the targets point at."""
        if not (targets.points or targets.boxes):
            return []
        prompter = self.shelf.prompter()
        steps.models.append(self.shelf.identity(prompter))
        if prompter.name == EMBEDDED_PROMPTER:
            steps.notes.append(
                f"points and boxes were cut out by GrabCut; SAM does it better: {models.get('sam_vit_b').way}"
            )
        with steps.clock.stage("find"):
            return prompter.select(
                pixels,
                points=[(point.x, point.y, point.positive) for point in targets.points],
                boxes=[(box.x0, box.y0, box.x1, box.y1) for box in targets.boxes],
            )

    def _refined(self, pixels: Pixels, going: list[Instance], steps: Steps) -> list[Instance]:
        """The instances with sharper outlines, where SAM is here and nobody forbids it."""
        if not going or not self._refines:
            return going
        prompter = self.shelf.prompter()
        steps.models.append(self.shelf.identity(prompter))
        with steps.clock.stage("refine"):
            return list(prompter.refine(pixels, going))

    @property
    def _refines(self) -> bool:
        """Whether outlines are sharpened: where SAM is here and nobody forbids it."""
        return self.refine_masks is not False and self.shelf.prompter_name != EMBEDDED_PROMPTER

    def _known(self, *requests: Any) -> tuple[str, ...]:
        """The classes that `all` stands for; asks the segmenter only where `all` was said."""
        return self.shelf.segmenter().classes if any(says_all(request) for request in requests) else ()


def _is_one_photo(photos: Any) -> bool:
    """Whether what shall be photos is a single one; an array of several has four axes."""
    single = isinstance(photos, str | bytes | bytearray | memoryview | os.PathLike | Photo)
    return single or not isinstance(photos, Iterable) or getattr(photos, "ndim", 4) < 4


def _results(
    outcomes: Generator[Outcome[None], None, None], errors: Literal["raise", "yield"]
) -> Iterator[Result | Exception]:
    with closing(outcomes):  # now, and not when somebody lets go of the error
        for outcome in outcomes:
            if outcome.result is not None:
                yield outcome.result
            elif errors == "raise":
                raise outcome.failure
            else:
                yield outcome.failure


def remove(photo: PhotoLike, remove: str | int | Iterable[str | int] = (), **options: Any) -> Result:
    """Remove objects from one photo: `objremove.remove("photo.jpg", "person,car").save("clean.jpg")`.

    Options are those of `Remover` and of its call. For more than one photo make a `Remover`: it loads its models once.
    """
    request = {name: options.pop(name) for name in ("keep", "points", "boxes", "masks", "progress") if name in options}
    return Remover(**options)(photo, remove, **request)
