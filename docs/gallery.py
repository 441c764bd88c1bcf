"""Make docs/gallery.md and its pictures: what the package removes from its samples, embedded weights only, failures included.

python docs/gallery.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "gallery"
WIDTH = 1500


@dataclass(frozen=True)
class Example:
    """One command on one sample, and what a person sees in its result."""

    sample: str
    options: str
    seen: str


EXAMPLES = (
    Example(
        "dogs.jpg",
        "--remove dog",
        "Both are found at once, as one object. Boards and siding go on; the curtain ends where "
        "the hole began, and the posts beside it are pieced together.",
    ),
    Example(
        "wine.jpg",
        "--box 400,150,460,410",
        "The glass and the wall behind stay; the dark foot of the bottle was taken for table and is left.",
    ),
    Example(
        "fig.jpg",
        "--box 510,300,910,600",
        "GrabCut missed two ends of the fig, and the bowl is filled evenly between them.",
    ),
    Example(
        "dandelions.jpg",
        "--box 160,50,600,720",
        "The seed head goes and the stem stays: it is green as the grass. The light behind it is plausible, not true.",
    ),
    Example(
        "rocket.jpg",
        "--box 295,115,350,410",
        "The tip is grey as the sky and stays; say --box a little wider or use SAM.",
    ),
    Example("coffee.jpg", "--box 320,215,410,330", "The spoon goes, its shadow stays."),
    Example(
        "coins.png",
        "--box 15,15,70,65 --box 130,10,180,70",
        "Two coins less, and the ground goes on between the others.",
    ),
    Example("galaxies.jpg", "--box 690,430,760,510", "A box of sky, filled with sky."),
    Example(
        "sunset.jpg",
        "--box 800,520,1180,853",
        "The stone table goes; seen at full size, dull pieces of the far hill stand where its top was.",
    ),
    Example("mountains.jpg", "--box 960,840,1060,930", "One rock less on the meadow."),
    Example(
        "cat.jpg",
        "--remove cat",
        "A failure: the cat fills the photo, and nothing is left to fill it from but a plain ground.",
    ),
)


def main() -> None:
    """Run every example as a user would, and write the page."""
    PICTURES.mkdir(exist_ok=True)
    lines = [
        "# Gallery",
        "",
        "Before | mask | after. Made by `python docs/gallery.py` with what ships in the package: the embedded segmenter,",
        "GrabCut for boxes, the compact LaMa for filling. With SAM and big-lama on the machine the same commands do better.",
        "Photos: [samples/README.md](../samples/README.md).",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for example in EXAMPLES:
            stem = Path(example.sample).stem
            command = ["objremove", *example.options.split(), f"samples/{example.sample}"]
            extra = ["--compare", "--offline", "-o", f"{folder}/{example.sample}"]
            done = subprocess.run([sys.executable, "-m", *command, *extra], cwd=ROOT, capture_output=True, text=True)
            said = done.stderr.strip().splitlines()[-1].split(" -> ")[0].removeprefix("samples/")
            lines += ["", f"## {stem}", "", f"    {' '.join(command)}", "", f"`{said}`. {example.seen}".strip()]
            strip = Path(folder) / f"{stem}.compare.png"
            if strip.exists():
                with Image.open(strip) as picture:
                    size = (WIDTH, round(picture.height * WIDTH / picture.width))
                    picture.resize(size, Image.Resampling.LANCZOS).save(PICTURES / f"{stem}.jpg", quality=85)
                lines += ["", f"![{stem}: before, mask, after](gallery/{stem}.jpg)"]
            print(said)
    (ROOT / "docs" / "gallery.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
