"""Class names: what a request means in the words of a dataset, and what a dataset's word means to a segmenter."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from objremove.errors import UsageError
from objremove.targets import parse_class


def canonical(word: str) -> str | None:
    """The name of `objremove.classes` for a dataset's class, or None: `aeroplane` is `airplane`, `widget` is nothing."""
    if re.fullmatch(r"\s*\d+\s*", word):
        return None
    try:
        return parse_class(word)
    except UsageError:
        return None


def resolve(request: str | Iterable[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The dataset's classes that a request names.

    Args:
        request: names, separated by commas or in a list. A word is first looked for as it is, in any case, then by what it
            means: `sofa` finds a class `couch`, `people` finds `person`, or both `man` and `woman` where there is no `person`.
            `coco:1` and `voc:15` are the numbers of those datasets, `all` is every class.
        classes: the dataset's own.

    Raises:
        UsageError: a word names no class of it; the message holds the closest ones.
    """
    texts = [request] if isinstance(request, str) else list(request)
    words = [word.strip() for text in texts for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError("nothing to remove was named: give class names of the dataset, as in --remove person,car")
    return tuple(dict.fromkeys(label for word in words for label in _resolve_one(word, classes)))


def _resolve_one(word: str, classes: Sequence[str]) -> list[str]:
    exact = [label for label in classes if label.casefold() == word.casefold()]
    if exact or word.casefold() == "all":
        return exact or list(classes)
    meaning = canonical(word)
    same = [label for label in classes if meaning is not None and canonical(label) == meaning]
    if same:
        return same
    if re.fullmatch(r"\d+", word):
        raise UsageError(f"class {word}: numbers differ between datasets; write the name, or coco:{word} or voc:{word}")
    if "#" in word:
        raise UsageError(f"{word!r}: a dataset's instances have no numbers; name the class, and sample with --fraction")
    plain = {label.casefold(): label for label in classes}
    close = [plain[name] for name in difflib.get_close_matches(word.casefold(), list(plain), n=3, cutoff=0.6)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"it has {_listed(classes)}"
    raise UsageError(f"the dataset has no class {word!r}: {hint}")


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:8])
    return f"{shown} and {len(classes) - 8} more" if len(classes) > 8 else shown or "no classes at all"


def for_segmenter(labels: Iterable[str]) -> dict[str, str]:
    """The segmenters' name of each of the dataset's classes; raises UsageError for one that no segmenter knows."""
    names = {label: canonical(label) for label in labels}
    unknown = [label for label, name in names.items() if name is None]
    if unknown:
        raise UsageError(
            f"no segmenter knows {', '.join(unknown)}: take --masks annotations and no --check, or remove other classes"
        )
    return {label: name for label, name in names.items() if name is not None}
