"""Semantic segmenters: networks that give every pixel a class (DeepLabV3, FCN, LR-ASPP, the embedded slim DeepLab).

What is kept of a network's answer, for each class but the background, is its margin: the class's logit minus the highest of
all other logits. It is positive exactly where the class wins. Connected components of positive margin become instances; their
outlines are drawn from the margin at photo scale (`outline`).

An object goes on where its class is nearly as likely as what wins there: the threshold that gives the best overlap lies below one
half (Lipton et al., "Optimal Thresholding of Classifiers to Maximize F1 Measure", 2014), and a leg that stays is worse than some
grass that goes. Only objects that the network is rather sure of grow so, each from its own pixels (hysteresis, as in Canny, 1986).

A large photo is looked at twice: once as a whole, once in overlapping tiles at up to twice that scale. The tiles see objects
that the overview is too coarse for, but no context, so that plain textures look like objects to them: they only add objects
that lie whole inside one tile, that they are sure of, and where the overview found nothing and nothing grew to. Every class counts there,
whichever are asked for: the same photo has the same objects, and so the same numbers, in every request.

A panorama is squeezed at first, and from four to one on seen in overlapping pieces along its length, whose answers are blended.

A person who names a class mostly sees one in the photo. Where the network is sure of none, `look_again` puts that knowledge in: the
odds of the class rise at every pixel by the same factor (Bayes' rule with another prior, as in Saerens et al., 2002), so that an
animal which looked a little more like a cat is found as the dog that was asked for. One that is much less likely than another of
its class is left: it is mostly something else.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from objremove.instances import Instance, by_falling_area
from objremove.segmentation.architectures import Architecture
from objremove.segmentation.frames import blend, network_size, pieces, seen_at_once, tiles
from objremove.segmentation.outline import FloatMap, as_uint8, instance_from_logits, resize
from objremove.types import Mask, Pixels

DEFAULT_CONFIDENCE = 0.5  # least mean probability of an object; those grow
GROWING_ODDS = 2.0  # an object grows to where what wins is less than this times as likely as its class
TILE_CONFIDENCE = 0.8  # least mean probability of an object that only the tile pass saw
PRESUMED_ODDS = 8.0  # factor on the odds of a class that is said to be there
PRESUMED_CONFIDENCE = 0.5  # least mean probability after that
LEAST_AREA_PRESUMED = 0.01  # share of the photo, or of a panorama's piece; likewise:
LEAST_OF_PEAK = 0.5  # what is less than half as likely as the likeliest of its class is not what was meant
LEAST_AREA = 0.0008  # components below this share of the photo are noise
LEAST_AREA_IN_TILES = 0.005  # share of a tile

_PEAK = 0.95  # quantile of the probabilities over an object: what its clearest part is taken for
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Scores:
    """A network's answer at its own scale for its K classes but the background: `margin` and `probability`, (K, h, w) float32."""

    margin: FloatMap
    probability: FloatMap

    def presuming(self, odds: float) -> Scores:
        """The scores of each class if it alone were `odds` times as likely beforehand."""
        risen = self.probability * np.float32(odds)
        return Scores(self.margin + np.float32(math.log(odds)), risen / (risen + (1 - self.probability)))


@dataclass(frozen=True)
class Component:
    """A connected region of positive margin inside a frame (the whole photo, or a tile of it).

    Attributes:
        kind: which class, an index into `Scores`.
        region: (h, w) bool at the network's scale.
        score: mean probability of the class over the region.
    """

    kind: int
    region: Mask
    score: float

    def touches(self, edges: tuple[bool, bool, bool, bool]) -> bool:
        """Whether the region reaches one of the edges (top, bottom, left, right) that are marked."""
        sides = (self.region[0], self.region[-1], self.region[:, 0], self.region[:, -1])
        return any(marked and bool(side.any()) for marked, side in zip(edges, sides, strict=True))


class SemanticSegmenter:
    """A network that answers `{"out": (B, classes, h, w)}` logits for ImageNet-normalised RGB, as a `Segmenter`."""

    def __init__(
        self, network: nn.Module, name: str, architecture: Architecture, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        """`network` in eval mode; dtype bfloat16 runs it under autocast."""
        self.name = name
        indices = {label: index for index, label in architecture.classes.items() if label != "background"}
        self.classes = tuple(indices)
        self._indices = list(indices.values())
        self._architecture = architecture
        self._network = network.to(device).to(memory_format=torch.channels_last)
        self._device = device
        self._dtype = dtype

    def find(self, pixels: Pixels, labels: Collection[str], *, confidence: float | None = None) -> list[Instance]:
        """As `Segmenter.find`; the default confidence is 0.5 for the mean probability over an object."""
        if not set(labels) & set(self.classes):
            return []
        least = DEFAULT_CONFIDENCE if confidence is None else confidence
        overview = self._overview(pixels)
        seen = list(components(overview, LEAST_AREA * seen_at_once(_size(pixels))))
        grown = Growth([each for each in seen if each.score >= DEFAULT_CONFIDENCE], overview)
        found = [
            self._draw(component, grown.margin(component), _size(pixels))
            for component in seen
            if component.score >= least and self.classes[component.kind] in labels
        ]
        added = self._find_in_tiles(pixels, overview, grown, max(least, TILE_CONFIDENCE))
        found += [instance for instance in added if instance.label in labels]
        return by_falling_area(instance for instance in found if instance is not None)

    def look_again(self, pixels: Pixels, labels: Collection[str], *, confidence: float | None = None) -> list[Instance]:
        """As `SecondLook.look_again`; an object's score stays what the network gave without the presumption."""
        overview = self._overview(pixels)
        leaning = overview.presuming(PRESUMED_ODDS)
        least = PRESUMED_CONFIDENCE if confidence is None else confidence
        seen = [
            component
            for component in components(leaning, LEAST_AREA_PRESUMED * seen_at_once(_size(pixels)))
            if component.score >= least and self.classes[component.kind] in labels
        ]
        found = [
            self._draw(
                replace(component, score=_mean_probability(component, overview)),
                own_margin(component, leaning),
                _size(pixels),
            )
            for component in likeliest(seen, overview)
        ]
        return by_falling_area(instance for instance in found if instance is not None)

    @torch.inference_mode()
    def _overview(self, pixels: Pixels) -> Scores:
        """The photo as a whole, averaged with its mirror image at another scale where the architecture says so.

        The mirror image is seen finer: it tells outlines, and the smaller picture what an object is.
        """
        seen = self._along(pixels, self._architecture.short_side)
        if self._architecture.mirrored_side is not None:
            finer = self._along(pixels, self._architecture.mirrored_side, mirrored=True)
            seen = nn.functional.interpolate(seen[None], finer.shape[1:], mode="bilinear", align_corners=False)[0]
            seen = torch.logaddexp(seen, finer) - math.log(2)
        return self._scores(seen)

    def _draw(self, component: Component, margin: FloatMap, size: tuple[int, int]) -> Instance | None:
        """A component, positive in `margin`, at the scale of its frame, which has `size` = (H, W) pixels of the photo."""
        # The smaller picture's, where two were averaged: it is the less sure of outlines.
        x0, y0, x1, y1 = pieces(size)[0]
        seen = self._network_size((y1 - y0, x1 - x0), self._architecture.short_side)
        scale = max((y1 - y0) / seen[0], (x1 - x0) / seen[1])
        return instance_from_logits(
            margin,
            size,
            label=self.classes[component.kind],
            score=component.score,
            boundary_error=self._architecture.stride * scale / 2,
            source=self.name,
        )

    def _find_in_tiles(self, pixels: Pixels, overview: Scores, grown: Growth, least: float) -> list[Instance]:
        """What of any class only the finer look sees; nothing for photos not much larger than the network's own scale."""
        size, side = _size(pixels), self._architecture.short_side
        places = tiles(size, side)
        if not places:
            return []
        won = (overview.margin > 0).any(axis=0) | grown.covered()
        taken = np.zeros(won.shape, dtype=np.bool_)
        found: list[Instance] = []
        for x0, y0, x1, y1 in places:
            scores = self._scores(self._log_probabilities(pixels[y0:y1, x0:x1], side))
            edges = (y0 > 0, y1 < size[0], x0 > 0, x1 < size[1])
            for component in components(scores, LEAST_AREA_IN_TILES):
                if component.score < least or component.touches(edges):
                    continue
                instance = self._draw(component, own_margin(component, scores), (y1 - y0, x1 - x0))
                if instance is None:
                    continue
                moved = _moved(instance, (x0, y0), size)
                footprint = _shrunk(moved, won.shape)
                if not (footprint & (won | taken)).any():
                    found.append(moved)
                    taken |= footprint
        return found

    def _along(self, pixels: Pixels, short_side: int, *, mirrored: bool = False) -> Tensor:
        """As `_log_probabilities`, of a photo of any shape: what one that is too long shows is seen in its pieces."""
        places = pieces(_size(pixels))
        if len(places) == 1:
            return self._log_probabilities(pixels, short_side, mirrored=mirrored)
        seen = [
            self._log_probabilities(pixels[y0:y1, x0:x1], short_side, mirrored=mirrored) for x0, y0, x1, y1 in places
        ]
        upright = pixels.shape[0] > pixels.shape[1]
        seen = [each.transpose(1, 2) for each in seen] if upright else seen
        spans = [(y0, y1) if upright else (x0, x1) for x0, y0, x1, y1 in places]
        scale = seen[0].shape[2] / (spans[0][1] - spans[0][0])
        whole = blend(seen, [round(start * scale) for start, _ in spans])
        return whole.transpose(1, 2) if upright else whole

    @torch.inference_mode()
    def _log_probabilities(self, pixels: Pixels, short_side: int, *, mirrored: bool = False) -> Tensor:
        """(classes, h, w) float32: what the network says of `pixels` seen at `short_side`, the mirror image's answer mirrored back."""
        small = as_uint8(resize(pixels, self._network_size(_size(pixels), short_side)))
        image = _normalised(torch.from_numpy(np.array(small)).to(self._device))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            logits: Tensor = self._network(image.flip(3) if mirrored else image)["out"].float()
        return (logits.flip(3) if mirrored else logits)[0].log_softmax(0)

    def _network_size(self, size: tuple[int, int], short_side: int) -> tuple[int, int]:
        return network_size(size, short_side, self._architecture.side_multiple)

    def _scores(self, log_probabilities: Tensor) -> Scores:
        first, second = log_probabilities.topk(2, dim=0).values
        own = log_probabilities[self._indices]
        margin = own - torch.where(own >= first, second, first)
        return Scores(margin.cpu().numpy(), own.exp().cpu().numpy())


def _size(pixels: Pixels) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def components(scores: Scores, least_share: float) -> Iterator[Component]:
    """The 8-connected regions of positive margin that cover at least `least_share` of the frame."""
    for kind, margin in enumerate(scores.margin):
        won = (margin > 0).astype(np.uint8)
        if not won.any():  # most classes are in no photo
            continue
        count, labels, stats, _ = cv2.connectedComponentsWithStats(won, connectivity=8)
        for number in range(1, count):
            if stats[number, cv2.CC_STAT_AREA] >= least_share * won.size:
                region = labels == number
                yield Component(kind, region, float(scores.probability[kind][region].mean()))


def _mean_probability(component: Component, scores: Scores) -> float:
    return float(scores.probability[component.kind][component.region].mean())


def likeliest(seen: Sequence[Component], scores: Scores) -> list[Component]:
    """Those of `seen` whose peak is at least `LEAST_OF_PEAK` of the highest peak of their class."""
    peaks = [float(np.quantile(scores.probability[each.kind][each.region], _PEAK)) for each in seen]
    highest: dict[int, float] = {}
    for each, peak in zip(seen, peaks, strict=True):
        highest[each.kind] = max(peak, highest.get(each.kind, 0.0))
    return [each for each, peak in zip(seen, peaks, strict=True) if peak >= LEAST_OF_PEAK * highest[each.kind]]


def own_margin(component: Component, scores: Scores) -> FloatMap:
    """(h, w) margin of the component's class, made negative inside the class's other components."""
    margin = scores.margin[component.kind]
    return np.asarray(np.where(component.region, margin, -np.abs(margin)), dtype=np.float32)


class Growth:
    """How far objects go on beyond the pixels that they win.

    They grow through pixels of none of `standing`, and where two of a class would meet, each takes what is nearer to it. Two of
    different classes may both grow to what lies between them.
    """

    def __init__(self, standing: Sequence[Component], scores: Scores) -> None:
        """`standing`: what stands in the way, and nothing else, so that an object grows alike whatever else is asked for."""
        self._standing, self._scores = standing, scores
        self._taken = np.zeros(scores.margin.shape[1:], dtype=np.bool_)
        for each in standing:
            self._taken |= each.region
        self._owners: dict[int, NDArray[np.int32]] = {}

    def margin(self, component: Component) -> FloatMap:
        """The (h, w) map that it is drawn from: positive where it lies and, if it is sure enough, where it grows to."""
        own = own_margin(component, self._scores)
        if component.score < DEFAULT_CONFIDENCE:
            return own
        owners = self._nearest(component.kind)
        raised = self._scores.margin[component.kind] + np.float32(math.log(GROWING_ODDS))
        free = (raised > 0) & ~self._taken & (owners == owners[component.region][0])
        _, labels = cv2.connectedComponents((component.region | free).astype(np.uint8), connectivity=8)
        reached = labels == labels[component.region][0]
        return np.asarray(np.where(reached | (raised <= 0), raised, own), dtype=np.float32)

    def covered(self) -> Mask:
        """(h, w) bool: where any of `standing` lies or grows to."""
        covered = np.zeros(self._taken.shape, dtype=np.bool_)
        for each in self._standing:
            covered |= self.margin(each) > 0
        return covered

    def _nearest(self, kind: int) -> NDArray[np.int32]:
        """(h, w) a number for each of the class's standing components, at the pixels that are nearer to it than to the others."""
        if kind not in self._owners:
            away = np.ones(self._taken.shape, dtype=np.uint8)
            for one in self._standing:
                if one.kind == kind:
                    away[one.region] = 0
            _, owners = cv2.distanceTransformWithLabels(away, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
            self._owners[kind] = np.asarray(owners, np.int32)
        return self._owners[kind]


def _moved(instance: Instance, corner: tuple[int, int], size: tuple[int, int]) -> Instance:
    """An instance of a tile at `corner` = (x, y) as one of the photo of `size` = (H, W)."""
    x0, y0, x1, y1 = instance.box
    x, y = corner
    return replace(instance, box=(x0 + x, y0 + y, x1 + x, y1 + y), size=size)


def _shrunk(instance: Instance, shape: tuple[int, int]) -> Mask:
    """(h, w) bool: the cells of a coarse grid over the photo that the instance's box reaches."""
    x0, y0, x1, y1 = instance.box
    down, across = shape[0] / instance.size[0], shape[1] / instance.size[1]
    footprint = np.zeros(shape, dtype=np.bool_)
    footprint[int(y0 * down) : math.ceil(y1 * down), int(x0 * across) : math.ceil(x1 * across)] = True
    return footprint


def _normalised(rgb: Tensor) -> Tensor:
    """(h, w, 3) uint8 RGB as (1, 3, h, w) float32, channels-last, in ImageNet's normalisation."""
    mean, std = (torch.tensor(each, device=rgb.device) for each in (_MEAN, _STD))
    return ((rgb.float() / 255 - mean) / std).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
