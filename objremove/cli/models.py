"""`objremove models list|pull|verify|path`: which weights exist, and which are here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from objremove.cli import options
from objremove.cli.console import OK, exit_code, print_table
from objremove.errors import ObjRemoveError, UsageError

app = typer.Typer(help="List, fetch and check model weights.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Model names.", show_default=False)]


@app.command("list")
def list_models() -> int:
    """Every model: what it is for, whether it is here, its size and its licence."""
    from rich.table import Column, Table

    from objremove import models

    table = Table(Column("model", no_wrap=True), "kind", "here", "MB", "what, licence", box=None, pad_edge=False)
    between = "\n" if sys.stdout.isatty() else "; "
    for name in models.names():
        model = models.get(name)
        path = models.locate(name) if model.needs_file else None
        here = "built in" if not model.needs_file else "ships" if model.embedded else "yes" if path else "-"
        size = models.size_of(model)
        about = f"{model.title}{between}[dim]{model.licence}[/dim]"
        table.add_row(name, model.kind, here, f"{size / 1e6:.0f}" if size else "", about)
    print_table(table)
    return OK


@app.command()
def pull(names: Names = None, all_models: Annotated[bool, typer.Option("--all", help="Every model.")] = False) -> int:
    """Fetch weights and verify them; what is here already is only verified."""
    from objremove import models

    if not names and not all_models:
        raise UsageError("name the models to fetch, or --all; 'objremove models list' shows them")
    speaker = options.speaker(False, 0)
    wanted = [name for name in models.names() if models.get(name).urls] if all_models else list(names or ())
    codes = []
    for name in wanted:
        try:
            with speaker.progress(name, "bytes") as progress:
                path = models.fetch(name, progress=progress)
            speaker.say(f"{name}: {path}")
            if lacks := models.get(name).lacks:
                speaker.say(f"{name} cannot be used yet: run `{lacks}`")
        except ObjRemoveError as error:
            speaker.error(str(error))
            codes.append(error.exit_code)
    return exit_code(codes, len(wanted))


@app.command()
def verify(names: Names = None) -> int:
    """Hash the weights that are here and compare with what was published and recorded."""
    from objremove import models

    speaker = options.speaker(False, 0)
    wanted = names or [name for name in models.names() if models.get(name).needs_file and models.locate(name)]
    codes = []
    for name in wanted:
        try:
            path = models.checked_path(name)
            print(f"{name}: well, sha256 {models.sha256(path)}", flush=True)
        except ObjRemoveError as error:
            speaker.error(str(error))
            codes.append(error.exit_code)
    return exit_code(codes, len(wanted))


@app.command()
def path(name: Annotated[str, typer.Argument(help="A model name.", show_default=False)]) -> int:
    """Print where a model's file lies."""
    from objremove import models

    found = models.locate(name)
    if found is None:
        if not models.get(name).needs_file:
            raise UsageError(f"{name} is an algorithm and has no file")
        raise ObjRemoveError(f"{name} is not on this machine: objremove models pull {name}")
    print(found)
    return OK
