"""What to remove: the grammar of `--remove`, `--keep`, `--point` and `--box`.

    remove  = item {"," item}           person,car   person#2   person#1-3,bird   15   coco:1   all
    item    = class ["#" numbers]       numbers pick instances of a class as `objremove detect` counts them
    numbers = n ["-" m] {"+" n ["-" m]}
    keep    = item | "largest" | "center"
    point   = x "," y ["," "-"]        a minus marks what does not belong to the object
    box     = x0 "," y0 "," x1 "," y1

All coordinates are pixels of the upright photo, (0, 0) its top-left corner.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, Final

from objremove.classes import ALIASES, COCO, NAMES, VOC
from objremove.errors import UsageError
from objremove.instances import Instance, by_falling_area
from objremove.wording import counted

KEEP_WORDS = ("largest", "center")


@dataclass(frozen=True)
class ClassTarget:
    """A class, or some instances of it.

    Attributes:
        label: class name of `objremove.classes.NAMES`.
        numbers: 1-based places among the instances of the class (`numbered`); empty means all of them.
    """

    label: str
    numbers: tuple[int, ...] = ()

    def covers(self, label: str, number: int) -> bool:
        """Whether it means the instance of that number within its class."""
        return label == self.label and (not self.numbers or number in self.numbers)

    def __str__(self) -> str:
        return self.label + (f"#{_spans(self.numbers)}" if self.numbers else "")


@dataclass(frozen=True)
class Point:
    """A click at pixel (x, y); `positive` is False for one that marks what must stay."""

    x: int
    y: int
    positive: bool = True


@dataclass(frozen=True)
class Box:
    """A rectangle (x0, y0, x1, y1) in pixels, x1 and y1 exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class Targets:
    """Everything that one request wants gone, and what of it shall stay."""

    remove: tuple[ClassTarget, ...] = ()
    keep: tuple[ClassTarget, ...] = ()
    keep_words: tuple[str, ...] = ()
    points: tuple[Point, ...] = field(default=())
    boxes: tuple[Box, ...] = field(default=())

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names that a segmenter must look for, without repetition."""
        return tuple(dict.fromkeys(target.label for target in (*self.remove, *self.keep)))

    def check_inside(self, size: tuple[int, int]) -> None:
        """Raise UsageError for a point or box that lies outside a photo of `size` = (H, W)."""
        height, width = size
        for point in self.points:
            if not (0 <= point.x < width and 0 <= point.y < height):
                raise UsageError(f"point {point.x},{point.y} is outside the photo, which is {width}x{height} pixels")
        for box in self.boxes:
            if not (0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height):
                raise UsageError(
                    f"box {box.x0},{box.y0},{box.x1},{box.y1} is not inside the photo, which is {width}x{height} pixels"
                )


def is_class(word: str) -> bool:
    """Whether `parse_class` knows it."""
    try:
        return bool(parse_class(word))
    except UsageError:
        return False


def parse_class(word: str) -> str:
    """The class name that `word` means: a name, an alias, a plural, a VOC number or `coco:ID`.

    Raises:
        UsageError: nothing of that name; the message holds the closest names.
    """
    text = re.sub(r"[\s_]+", " ", word.strip().lower())
    if match := re.fullmatch(r"(?:(voc|coco):)?(\d+)", text):
        return _class_by_number(match[1] or "voc", int(match[2]))
    for candidate in (text, text.removesuffix("s"), text.removesuffix("es"), text.replace("-", " ")):
        if candidate in NAMES:
            return candidate
        if candidate in ALIASES:
            return ALIASES[candidate]
    close = difflib.get_close_matches(text, [*NAMES, *ALIASES], n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else "`objremove classes` lists them"
    raise UsageError(f"unknown class {word.strip()!r}: {hint}")


def _class_by_number(dataset: str, number: int) -> str:
    if dataset == "coco":
        if number not in COCO:
            raise UsageError(f"no COCO category has the id {number}: `objremove classes` lists them")
        return COCO[number]
    if not 1 <= number < len(VOC):
        raise UsageError(f"VOC classes go from 1 to {len(VOC) - 1}, not {number}: `objremove classes` lists them")
    return VOC[number]


def parse_item(text: str, known: Sequence[str] = NAMES) -> tuple[ClassTarget, ...]:
    """The targets of one `class[#numbers]`; `all` stands for every class in `known`."""
    name, mark, numbers = text.partition("#")
    if name.strip().lower() == "all":
        if mark:
            raise UsageError(f"{text.strip()!r}: numbers belong to one class, as in person#2")
        return tuple(ClassTarget(label) for label in known)
    return (ClassTarget(parse_class(name), _parse_numbers(numbers, text) if mark else ()),)


def _parse_numbers(numbers: str, text: str) -> tuple[int, ...]:
    picked: list[int] = []
    for part in numbers.split("+"):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 100_000:
            raise UsageError(f"{text.strip()!r}: write instances as person#2, person#1-3 or person#1+4")
        picked.extend(range(first, last + 1))
    return tuple(dict.fromkeys(picked))


def _spans(numbers: Iterable[int]) -> str:
    """Numbers in the grammar above: `1-3+7`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return "+".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _items(request: str | int | Iterable[str | int]) -> list[str]:
    """Split at commas, and at spaces between bare numbers as in the original project's `--remove 3 15`."""
    several = list(request) if isinstance(request, Iterable) and not isinstance(request, str | bytes) else None
    texts: list[Any] = [request] if several is None else several
    for text in texts:
        if not isinstance(text, str | Integral):
            raise UsageError(f"{text!r} is no class: name it by text or by a whole number, alone or in a list")
    words = [word for text in texts for word in str(text).split(",")]
    split = [part for word in words for part in (word.split() if re.fullmatch(r"[\d\s]+", word) else [word])]
    return [word for word in split if word.strip()]


def says_all(request: str | int | Iterable[str | int]) -> bool:
    """Whether a request names `all`, every class that the segmenter knows."""
    return any(word.partition("#")[0].strip().lower() == "all" for word in _items(request))


def spelled(request: str | int | Iterable[str | int]) -> list[str]:
    """A request in one spelling, whatever its order, aliases and commas: requests that mean the same are the same."""
    words = {word.strip().lower() for word in _items(request)}
    if says_all(request):
        return ["all"]
    plain = words & set(KEEP_WORDS)
    return sorted(plain | {str(target) for word in words - plain for target in parse_item(word)})


def without_numbers(request: str | int | Iterable[str | int]) -> list[str]:
    """The classes of a request: `person#2,car` as person and car. To number the second person all persons must be found."""
    return [word.partition("#")[0] for word in _items(request)]


def parse_targets(
    remove: str | int | Iterable[str | int] = (),
    *,
    keep: str | Iterable[str] = (),
    points: Iterable[str | Point | Sequence[float | bool]] = (),
    boxes: Iterable[str | Box | Sequence[float]] = (),
    known: Sequence[str] = NAMES,
) -> Targets:
    """Read a whole request. Each part may be text in the grammar above, or already plain values.

    Raises:
        UsageError: a part cannot be read; one line says which and how to write it.
    """
    kept = _items(keep)
    words = tuple(dict.fromkeys(word.strip().lower() for word in kept if word.strip().lower() in KEEP_WORDS))
    kept_classes = [word for word in kept if word.strip().lower() not in KEEP_WORDS]
    targets = Targets(
        remove=tuple(dict.fromkeys(target for word in _items(remove) for target in parse_item(word, known))),
        keep=tuple(target for word in kept_classes for target in parse_item(word, known)),
        keep_words=words,
        points=tuple(_parse_point(point) for point in points),
        boxes=tuple(_parse_box(box) for box in boxes),
    )
    if kept and not targets.remove:
        raise UsageError("--keep spares some of what --remove names, and --remove names nothing")
    if targets.points and not any(point.positive for point in targets.points):
        raise UsageError("the points only say what must stay: give one on the object as well")
    return targets


_SIGNS: Final[dict[Any, bool]] = {True: True, False: False, "+": True, "-": False}
"""How a point says whether it lies on the object; 1 and 0 are True and False."""


def _is_positive(sign: Any) -> bool:
    return _SIGNS[sign.item() if hasattr(sign, "item") else sign]


def _parse_point(point: str | Point | Sequence[float | bool]) -> Point:
    if isinstance(point, Point):
        return point
    if isinstance(point, str):
        match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*(?:,\s*([+-])\s*)?", point)
        if not match:
            raise UsageError(f"point {point!r}: write it as x,y or, for what must stay, x,y,-")
        return Point(int(match[1]), int(match[2]), match[3] != "-")
    try:
        x, y, *sign = point
        return Point(math.floor(x), math.floor(y), *map(_is_positive, sign))
    except (TypeError, ValueError, KeyError, OverflowError):
        raise UsageError(
            f"point {point!r}: give (x, y) or (x, y, positive), positive being True or False, and a list of them"
        ) from None


def _parse_box(box: str | Box | Sequence[float]) -> Box:
    if isinstance(box, Box):
        return box
    if isinstance(box, str):
        match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", box)
        if not match:
            raise UsageError(f"box {box!r}: write it as x0,y0,x1,y1")
        corners = [int(match[i]) for i in range(1, 5)]
    else:
        try:
            corners = [math.floor(value) for value in box]
        except (TypeError, ValueError, OverflowError):
            corners = []
        if len(corners) != 4:
            raise UsageError(f"box {box!r}: give (x0, y0, x1, y1), and a list of them")
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise UsageError(f"box {','.join(map(str, corners))}: x1 and y1 must be greater than x0 and y0, in pixels")
    return Box(*corners)


def check_known(labels: Collection[str], known: Collection[str], segmenter: str) -> None:
    """Raise UsageError when a segmenter does not know a class that was asked for."""
    missing = [label for label in labels if label not in known]
    if missing:
        raise UsageError(
            f"{segmenter} does not know {', '.join(missing)}, only {counted(len(known), 'class', 'classes')}: "
            "`objremove classes` shows which models do; `--segmenter maskrcnn_resnet50_fpn_v2` knows all 80 of COCO"
        )


def numbered(instances: Iterable[Instance]) -> list[tuple[int, Instance]]:
    """Each instance with its number within its class: by falling area, those that only a second look found last.

    So objects that are found without being named keep their numbers when they are.
    """
    counts: dict[str, int] = {}
    result = []
    for one in sorted(by_falling_area(instances), key=lambda one: one.second_look):
        counts[one.label] = counts.get(one.label, 0) + 1
        result.append((counts[one.label], one))
    return result


def choose(instances: Iterable[Instance], targets: Targets) -> list[Instance]:
    """The found instances that shall go: all that `remove` names less those that `keep` names, by falling area.

    `largest` and `center` (the one whose middle is nearest to the photo's) keep one instance of all that would go.
    """

    def named(pair: tuple[int, Instance], by: Sequence[ClassTarget]) -> bool:
        number, one = pair
        return any(target.covers(one.label, number) for target in by)

    pairs = numbered(instances)
    going = [pair[1] for pair in pairs if named(pair, targets.remove) and not named(pair, targets.keep)]
    spared: set[int] = set()
    if going and "largest" in targets.keep_words:
        spared.add(id(going[0]))
    if going and "center" in targets.keep_words:
        spared.add(id(min(going, key=_distance_from_center)))
    return [one for one in going if id(one) not in spared]


def picked(
    pairs: Iterable[tuple[int, Instance]], request: str | int | Iterable[str | int]
) -> list[tuple[int, Instance]]:
    """Of numbered instances those that a request means; every one where it names `all`."""
    if says_all(request):
        return list(pairs)
    targets = parse_targets(request)
    return [(number, one) for number, one in pairs if any(named.covers(one.label, number) for named in targets.remove)]


def absent(instances: Iterable[Instance], targets: Targets) -> list[str]:
    """A line for each class of which the request numbers more instances than were found: which are not there, and which are.

    A class of which nothing was found has no line: that is no matter of its numbers.
    """
    counts = Counter(one.label for one in instances)
    lines = []
    for target in dict.fromkeys((*targets.remove, *targets.keep)):
        found = counts[target.label]
        beyond = tuple(number for number in target.numbers if number > found)
        if found and beyond:
            there = ClassTarget(target.label, tuple(range(1, found + 1)))
            lines.append(f"there is no {replace(target, numbers=beyond)}: found {there}")
    return lines


def _distance_from_center(one: Instance) -> float:
    """Squared distance from the photo's middle to the box, 0 inside it; ties go to the box whose own middle is nearer."""
    height, width = one.size
    x0, y0, x1, y1 = one.box
    gap_x, gap_y = max(x0 - width / 2, width / 2 - x1, 0.0), max(y0 - height / 2, height / 2 - y1, 0.0)
    off_x, off_y = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
    return gap_x**2 + gap_y**2 + 1e-6 * (off_x**2 + off_y**2)
