"""Files that are edited as text: what is not changed keeps its bytes, white space and floating point digits included.

JSON and XML are read with the places where each value stands. An edit replaces such a place and leaves all else alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, AnyStr
from xml.parsers import expat

_SPACE = re.compile(r"[ \t\n\r]*")
_TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")
_decode = json.JSONDecoder().raw_decode


def splice(text: AnyStr, edits: Iterable[tuple[int, int, AnyStr]]) -> AnyStr:
    """`text` with each (start, end) replaced; the places don't overlap."""
    pieces: list[AnyStr] = []
    done = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        pieces += [text[done:start], new]
        done = end
    pieces.append(text[done:])
    return text[:0].join(pieces)


# ---------------------------------------------------------------------- JSON


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a JSON text and where it stands; `value` is a list of items for an array that was split."""

    value: Any
    start: int
    end: int


def read_object(
    text: str, start: int = 0, *, split: Mapping[str, Callable[[Any], Any]] | None = None
) -> dict[str, Item]:
    """The members of the JSON object at `start`.

    Arrays under the names in `split` come as lists of items, whose values are what the name's function makes of an element.

    Raises:
        ValueError: the text is no JSON object, or goes on behind it where `start` is 0.
    """
    members: dict[str, Item] = {}
    place = _skip(text, _expect(text, _skip(text, start), "{"))
    while text[place : place + 1] != "}":
        if members:
            place = _skip(text, _expect(text, place, ","))
        key, place = _decode(text, place)
        if not isinstance(key, str):
            raise ValueError(f"a name is expected at character {place}")
        place = _skip(text, _expect(text, _skip(text, place), ":"))
        if split and key in split and text[place : place + 1] == "[":
            items = [Item(split[key](one.value), one.start, one.end) for one in read_array(text, place)]
            end = _expect(text, _skip(text, items[-1].end if items else place + 1), "]")
            members[key] = Item(items, place, end)
        else:
            value, end = _decode(text, place)
            members[key] = Item(value, place, end)
        place = _skip(text, end)
    if start == 0 and _skip(text, place + 1) != len(text):
        raise ValueError(f"something follows the JSON object at character {place + 1}")
    return members


def read_array(text: str, start: int) -> Iterator[Item]:
    """The elements of the JSON array at `start`; raises ValueError where it is none."""
    place = _skip(text, _expect(text, start, "["))
    first = True
    while text[place : place + 1] != "]":
        if not first:
            place = _skip(text, _expect(text, place, ","))
        value, end = _decode(text, place)
        yield Item(value, place, end)
        place, first = _skip(text, end), False


def rebuild_array(text: str, items: Sequence[Item], texts: Sequence[Sequence[str]]) -> tuple[int, int, str]:
    """The edit that puts, in place of each item of an array that is not empty, the texts given for it: none, one or several."""
    pieces: list[str] = []
    for place, new in enumerate(texts):
        before = max(1, place)
        separator = text[items[before - 1].end : items[before].start] if len(items) > 1 else ", "
        for one in new:
            pieces += [separator, one] if pieces else [one]
    return items[0].start, items[-1].end, "".join(pieces)


def edit_record(text: str, changes: Mapping[str, Any]) -> str:
    """A JSON object's text with the members in `changes` replaced or, where it has none of that name, added at its end."""
    members = read_object(text)
    edits = [(members[key].start, members[key].end, dump(value)) for key, value in changes.items() if key in members]
    new = [f"{json.dumps(key)}: {dump(value)}" for key, value in changes.items() if key not in members]
    if new:
        end = max((item.end for item in members.values()), default=text.index("{") + 1)
        edits.append((end, end, ", ".join(["", *new] if members else new)))
    return splice(text, edits)


@dataclass(frozen=True)
class Verbatim:
    """JSON text that `dump` passes on as it is."""

    text: str


def dump(value: Any) -> str:
    """JSON text of a value; whole floats are written as such, and long coordinates get two digits behind the point."""
    if isinstance(value, Verbatim):
        return value.text
    if isinstance(value, list | tuple):
        return "[" + ", ".join(dump(one) for one in value) + "]"
    if isinstance(value, float):
        return json.dumps(round(value, 2))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {dump(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _skip(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


def _expect(text: str, place: int, mark: str) -> int:
    if text[place : place + 1] != mark:
        raise ValueError(f"{mark!r} is expected at character {place}")
    return place + 1


# ---------------------------------------------------------------------- XML


@dataclass
class Element:
    """An XML element and where it stands in the file, in bytes."""

    tag: str
    start: int
    end: int = 0
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def child(self, tag: str) -> Element | None:
        """The first child of that name."""
        return next((one for one in self.children if one.tag == tag), None)

    def read(self, tag: str) -> str:
        """The text of the first child of that name, without white space around it; empty where there is none."""
        found = self.child(tag)
        return "" if found is None else found.text.strip()

    def inside(self, data: bytes) -> tuple[int, int]:
        """Where the content stands, between the tags."""
        opening = _TAG.match(data, self.start)
        if opening is None or data[opening.end() - 2 : opening.end()] == b"/>":
            return self.end, self.end
        return opening.end(), data.rindex(b"</", self.start, self.end)


def read_xml(data: bytes) -> Element:
    """The root element of an XML file; raises ValueError where it is none."""
    parser = expat.ParserCreate()
    root = Element("", 0)
    stack = [root]

    def opened(tag: str, _: Any) -> None:
        element = Element(tag, parser.CurrentByteIndex)
        stack[-1].children.append(element)
        stack.append(element)

    def closed(_: str) -> None:
        element = stack.pop()
        opening = _TAG.match(data, element.start)
        if opening is not None and opening[0].endswith(b"/>"):  # expat stands behind it already
            element.end = opening.end()
        else:
            element.end = data.index(b">", parser.CurrentByteIndex) + 1

    def spoken(text: str) -> None:
        stack[-1].text += text

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = opened, closed, spoken
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from None
    return root.children[0]
