"""The main command: `objremove --remove person,car photo.jpg`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from objremove.cli import options
from objremove.cli.console import FAILED, OK, SOME_FAILED, Speaker, stdout_kept_clean
from objremove.cli.options import MASK, MODELS, OUTPUT, beside
from objremove.errors import PhotoError, UsageError

if TYPE_CHECKING:
    from objremove.remover import Remover
    from objremove.result import Result

WHAT = "What to remove"

EPILOG = (
    "Beside it: objremove detect (what is in a photo, numbered), models (list, pull, verify, path), classes, doctor, train; each has "
    "its --help. Exit codes: 0 all well, 1 failure, 2 usage, 3 some photos failed, 130 interrupted. "
    "A photo in which nothing of what was named is found is left alone, and said so."
)


@dataclass(frozen=True)
class _Output:
    """Where results go and in which form."""

    to: Path | None
    suffix: str
    format: str | None
    quality: int | None
    in_place: bool
    overwrite: bool
    save_mask: bool
    compare: bool
    as_json: bool

    def path(self, photo: Path, *, many: bool) -> Path:
        """The file that the result of `photo` is written to; raises UsageError where that would lose something."""
        extension = f".{self.format.lower()}" if self.format else photo.suffix
        if self.in_place:
            return photo
        if self.to is None:
            target = beside(photo, self.suffix, extension)
        elif many or self.to.is_dir():
            target = self.to / (photo.stem + extension)
        else:
            target = self.to
        if target.exists():
            if photo.exists() and target.samefile(photo):
                raise UsageError(
                    f"{target} is the photo itself: name another output, or use --in-place, which keeps a backup"
                )
            if not self.overwrite:
                raise UsageError(f"{target} exists: name another output, or add --overwrite")
        return target


def command(
    photos: options.Photos,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove",
            "-r",
            metavar="CLASSES",
            help="Class names, e.g. person,car; person#2 or person#1-3 pick instances as 'detect' numbers them; all.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASSES",
            help="Of what --remove names, leave these: the same grammar, or largest, center.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y[,-]",
            help="The object at this pixel; with a minus, what is not part of it. May be repeated.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1",
            help="The object in this box. May be repeated.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A picture of the photo's size, white where to remove. May be repeated.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER|-",
            help="Where to write; a folder for several photos; '-' is standard output. Default: beside the photo.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    suffix: Annotated[
        str, typer.Option(help="Put before the extension of a result beside its photo.", rich_help_panel=OUTPUT)
    ] = ".removed",
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="jpg, png, webp, tiff, avif …; default: the photo's own.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Re-encode with this quality. By default a JPEG's untouched blocks stay as they are.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Replace the photo; the original stays as PHOTO.orig.", rich_help_panel=OUTPUT),
    ] = False,
    overwrite: options.Overwrite = False,
    save_mask: Annotated[
        bool, typer.Option("--save-mask", help="Also write the mask, as .mask.png.", rich_help_panel=OUTPUT)
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also write before | mask | after, as .compare.png.", rich_help_panel=OUTPUT),
    ] = False,
    conf: options.Confidence = None,
    dilate: Annotated[
        str,
        typer.Option(
            metavar="auto|N|N%", help="Grow each object by pixels, or by a share of its size.", rich_help_panel=MASK
        ),
    ] = "auto",
    feather: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Width in pixels of the soft edge in the grown ring; default: by the growth.",
            rich_help_panel=MASK,
            show_default=False,
        ),
    ] = None,
    refine_masks: Annotated[
        bool | None,
        typer.Option(
            "--refine-masks/--no-refine-masks",
            help="Sharpen outlines with SAM; default: where its weights are here.",
            rich_help_panel=MASK,
            show_default=False,
        ),
    ] = None,
    segmenter: options.Segmenter = "auto",
    inpainter: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE|FOLDER",
            help="Fills the hole: big-lama, shift-map …, or LaMa weights; auto: the best that is here.",
            rich_help_panel=MODELS,
        ),
    ] = "auto",
    prompter: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="Draws masks for points and boxes: sam_vit_b …, grabcut.", rich_help_panel=MODELS
        ),
    ] = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    offline: options.Offline = False,
    seed: Annotated[int, typer.Option(help="For inpainters that draw random numbers.", rich_help_panel=MODELS)] = 0,
    max_megapixels: options.MaxMegapixels = 250.0,
    json_lines: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    version: options.Version = False,
) -> int:
    """Remove objects from photos by naming them; every pixel that is not removed stays exactly as it was."""
    speaker = options.speaker(quiet, verbose)
    if not (remove or point or box or mask):
        raise UsageError(
            "say what to remove: --remove person,car (or --point, --box, --mask); 'objremove classes' lists the names"
        )
    if in_place and output is not None:
        raise UsageError("--in-place and --output contradict each other: take one")
    where = _Output(output, suffix, format, quality, in_place, overwrite, save_mask, compare, json_lines)
    request: dict[str, Any] = {"remove": remove or [], "keep": keep or [], "points": point or [], "boxes": box or []}
    paths = _expand(photos)
    _check_targets(where, paths)

    from objremove.photo import Photo, format_name
    from objremove.remover import Remover
    from objremove.targets import parse_targets

    for name in (format, None if output is None or len(paths) > 1 or output.is_dir() else output.suffix or None):
        format_name(name)  # an unknown one is said before any work is done
    parse_targets(**{**request, "remove": [word for word in request["remove"] if "all" not in word.lower()]})
    masks = [Photo.open(path, max_megapixels=max_megapixels) for path in mask or []]
    with speaker.progress("fetching", "bytes") as fetching:
        remover = Remover(
            segmenter,
            inpainter,
            prompter=prompter,
            device=device,
            precision=precision,
            confidence=conf,
            dilate=dilate,
            feather=feather,
            refine_masks=refine_masks,
            offline=offline,
            threads=threads,
            seed=seed,
            max_megapixels=max_megapixels,
            on_download=fetching,
        )
        return _all(remover, paths, {**request, "masks": [_as_mask(one) for one in masks]}, where, speaker)


def _expand(photos: Sequence[str]) -> list[Path]:
    """The photos named on the command line; bare numbers after `--remove 3 15` would land here and are explained."""
    for photo in photos:
        if photo.isdigit() and not Path(photo).exists():
            raise UsageError(f"no photo is called {photo}: several class numbers go together, as in --remove 3,{photo}")
        if Path(photo).is_dir():
            raise PhotoError(f"{photo} is a folder: name the photos in it, as in {Path(photo) / '*.jpg'}")
    return [Path(photo) for photo in photos]


def _check_targets(where: _Output, paths: Sequence[Path]) -> None:
    """Find collisions and impossible targets before the first photo is touched."""
    many = len(paths) > 1
    stdin = Path("-") in paths
    if many and (stdin or where.to == Path("-")):
        raise UsageError("'-' stands for one photo: give no others with it")
    if stdin and (where.in_place or where.save_mask or where.compare) and where.to in (None, Path("-")):
        raise UsageError("--in-place, --save-mask and --compare need files: give the photo and the output as paths")
    if stdin or where.to == Path("-"):
        return
    if many and where.to is not None and where.to.is_file():
        raise UsageError(f"{where.to} is a file, but there are {len(paths)} photos: give a folder")
    seen: dict[Path, Path] = {}
    for path in paths:
        target = where.path(path, many=many).absolute()
        if target in seen:
            raise UsageError(f"{seen[target]} and {path} would both be written to {target}: run them apart")
        seen[target] = path


def _as_mask(photo: Any) -> Any:
    """A mask file's samples as an array, alpha included, so that masks drawn as transparency are understood."""
    import numpy as np

    return photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])


def _all(remover: Remover, paths: Sequence[Path], request: dict[str, Any], where: _Output, speaker: Speaker) -> int:
    """Run the request over every photo; one that fails doesn't stop the others."""
    failures = 0
    for path in paths:
        try:
            with speaker.progress(f"filling {path.name}", "windows") as filling, stdout_kept_clean():
                result = remover(_source(path), **request, progress=filling)
            _deliver(result, path, where, speaker, many=len(paths) > 1)
        except (PhotoError, OSError) as error:
            if len(paths) == 1:
                raise
            failures += 1
            speaker.error(str(error))
        except UsageError as error:
            if len(paths) == 1 or "photo" not in str(error):
                raise
            failures += 1
            speaker.error(f"{path}: {error}")
    if not failures:
        return OK
    speaker.say(f"{len(paths) - failures} of {len(paths)} photos done, {failures} failed")
    return FAILED if failures == len(paths) else SOME_FAILED


def _source(path: Path) -> Path | bytes:
    return sys.stdin.buffer.read() if path == Path("-") else path


def _deliver(result: Result, path: Path, where: _Output, speaker: Speaker, *, many: bool) -> None:
    """Write what was asked for and say what became of the photo."""
    to_stdout = where.to == Path("-") or (path == Path("-") and where.to is None)
    target: Path | None = None
    warnings = list(result.warnings)
    if to_stdout:
        with stdout_kept_clean():
            data, notes = result.encode(format=where.format, quality=where.quality)
        warnings += notes
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif result.changed:
        target = where.to if path == Path("-") and where.to else where.path(path, many=many)
        target.parent.mkdir(parents=True, exist_ok=True)
        if where.in_place:
            _back_up(path)
        with stdout_kept_clean():
            warnings += result.save(target, format=where.format, quality=where.quality)
        _write_extras(result, target, where)
    if where.as_json:
        stream = sys.stderr if to_stdout else sys.stdout
        line = {"photo": str(path), "output": str(target) if target else None, **result.to_dict(), "warnings": warnings}
        print(json.dumps(line), file=stream, flush=True)
    for warning in warnings:
        speaker.warn(str(path), warning)
    speaker.say(_summary(result, path, target))
    speaker.say("  " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in result.timings.items()), level=1)


def _back_up(photo: Path) -> None:
    """Keep the original as PHOTO.orig; the first backup is the original and is never replaced."""
    backup = photo.with_name(photo.name + ".orig")
    if backup.exists():
        return
    try:
        shutil.copy2(photo, backup.with_name(backup.name + ".part"))
        backup.with_name(backup.name + ".part").replace(backup)
    except OSError as error:
        raise PhotoError(f"{backup} cannot be written ({error.strerror}), so {photo} was left alone") from error


def _write_extras(result: Result, target: Path, where: _Output) -> None:
    import io

    import numpy as np
    from PIL import Image

    from objremove.photo import write_atomic

    extras = []
    if where.save_mask:
        extras.append((".mask", Image.fromarray(result.mask.astype(np.uint8) * 255)))
    if where.compare:
        extras.append((".compare", result.compare()))
    for suffix, picture in extras:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        write_atomic(beside(target, suffix, ".png"), buffer.getvalue())


def _summary(result: Result, path: Path, target: Path | None) -> str:
    """One line: what went, how much of the photo, how long, where to."""
    if not result.changed:
        seen = f" ({len(result.found)} found, all kept)" if result.found else ""
        return (
            f"{path}: nothing to remove was found{seen}; no file was written"
            if target is None
            else f"{path}: unchanged"
        )
    counts: dict[str, int] = {}
    for one in result.instances:
        counts[one.label] = counts.get(one.label, 0) + 1
    names = ", ".join(label if count == 1 else f"{label} x{count}" for label, count in counts.items())
    share = 100 * result.mask.mean()
    seconds = sum(result.timings.values())
    return f"{path}: removed {names} ({share:.1f} % of the photo) in {seconds:.1f} s -> {target or 'standard output'}"
