"""`objremove serve`: a page for people who would rather look, and an HTTP API for programs (extra `serve`)."""

from __future__ import annotations

import importlib.util
import sys
import webbrowser
from typing import Annotated
from urllib.parse import urlencode

import typer

from objremove.cli import options
from objremove.cli.console import OK
from objremove.errors import UsageError

WHO, LIMITS = "Who may use it", "Limits"


def command(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs --token.", rich_help_panel=WHO)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any that is free.", rich_help_panel=WHO)
    ] = 8650,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="OBJREMOVE_TOKEN",
            metavar="TEXT",
            help="What clients must know; better given as OBJREMOVE_TOKEN, which other users of this machine cannot see.",
            rich_help_panel=WHO,
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that the server is called by. May be repeated.", rich_help_panel=WHO),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A site whose pages may use it, https://example.org. May be repeated.",
            rich_help_panel=WHO,
        ),
    ] = None,
    open_page: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open", help="Open the page in a browser; default: from a terminal.", show_default=False
        ),
    ] = None,
    queue: Annotated[
        int, typer.Option(min=1, help="Requests that may wait for the models.", rich_help_panel=LIMITS)
    ] = 8,
    max_megabytes: Annotated[float, typer.Option(help="Largest request.", rich_help_panel=LIMITS)] = 100.0,
    max_megapixels: Annotated[
        float, typer.Option(help="Larger photos are refused before they are decoded.", rich_help_panel=LIMITS)
    ] = 100.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds for the work on one request.", rich_help_panel=LIMITS)
    ] = 300.0,
    patience: Annotated[
        float, typer.Option(help="Seconds without a byte from a client, or to it.", rich_help_panel=LIMITS)
    ] = 30.0,
    keep_megabytes: Annotated[
        float, typer.Option(help="Photos and results that are kept in memory.", rich_help_panel=LIMITS)
    ] = 1024.0,
    keep_minutes: Annotated[
        float, typer.Option(help="After so long without use they are forgotten.", rich_help_panel=LIMITS)
    ] = 60.0,
    segmenter: options.Segmenter = "auto",
    inpainter: options.Inpainter = "auto",
    prompter: options.Prompter = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """Open a page on which objects are removed by clicking, and serve the same as an HTTP API."""
    if not all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn", "prometheus_client", "psutil")):
        raise UsageError("the server needs a few packages more: pip install 'objremove[serve]'")
    from objremove.server.run import serve
    from objremove.server.settings import Settings
    from objremove.server.shelves import check_named

    settings = Settings(
        host=host,
        token=token or None,
        allow_hosts=tuple(allow_host or ()),
        allow_origins=tuple(origin.rstrip("/") for origin in allow_origin or ()),
        queue=queue,
        max_megabytes=max_megabytes,
        max_megapixels=max_megapixels,
        timeout=timeout,
        patience=patience,
        keep_megabytes=keep_megabytes,
        keep_minutes=keep_minutes,
        segmenter=segmenter,
        inpainter=inpainter,
        prompter=prompter,
        device=device,
        precision=precision,
        threads=threads,
        offline=offline,
    )
    check_named(settings)
    speaker = options.speaker(quiet, verbose)
    _log_to_stderr(verbose)
    shows = sys.stdout.isatty() if open_page is None else open_page

    def opened(address: str) -> None:
        print(address, flush=True)
        if settings.token and sys.stderr.isatty():
            # A terminal is its user's own, a log need not be. The fragment stays in the browser: it is in no request.
            speaker.say(f"the page asks for the token, but not at {address}#{urlencode({'token': settings.token})}")
        elif settings.token:
            speaker.say("the page asks for the token; #token=… behind the address saves the typing")
        speaker.say("Ctrl-C ends the server and forgets all photos")
        if shows:
            webbrowser.open(
                address
            )  # without the token: every user of this machine sees what a browser is started with

    serve(settings, port, opened=opened)
    return OK


def _log_to_stderr(verbose: int) -> None:
    """Errors always; with -v a line for each request, too."""
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("objremove.server").setLevel(logging.INFO if verbose else logging.WARNING)
