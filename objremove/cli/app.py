"""Two Typer applications: `objremove --remove person photo.jpg`, the main job, and the verbs that stand beside it.

The main job has no verb, so its options stand on the first help page; a first word that is a verb goes to the other.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from objremove.cli import classes, cluster, dataset, detect, doctor, evaluate, models, remove, serve, train
from objremove.cli.console import FAILED, INTERRUPTED, OK, Speaker
from objremove.errors import ObjRemoveError

VERBS = ("detect", "models", "classes", "doctor", "train", "evaluate", "serve", "cluster", "dataset")


def _typer() -> typer.Typer:
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


main_job = _typer()
main_job.command(epilog=remove.EPILOG)(remove.command)

verbs = _typer()
verbs.command("detect")(detect.command)
verbs.command("classes")(classes.command)
verbs.command("doctor")(doctor.command)
verbs.command("serve")(serve.command)
verbs.command("cluster")(cluster.command)
verbs.command("dataset")(dataset.command)
verbs.add_typer(models.app, name="models")
verbs.add_typer(train.app, name="train")
verbs.add_typer(evaluate.app, name="evaluate")


def run(arguments: Sequence[str]) -> int:
    """Run the command line; every error of a user's making becomes one line on stderr and an exit code."""
    words = list(arguments) or ["--help"]
    app = verbs if words[0] in VERBS else main_job
    speaker = Speaker()
    try:
        code = int(app(args=words, prog_name="objremove", standalone_mode=False) or OK)
        if code == INTERRUPTED:  # Typer answers Ctrl-C with this number, and with no word
            speaker.error("interrupted")
        return code
    except (ObjRemoveError, TyperException) as error:
        if "-vv" in words:
            traceback.print_exc()
        speaker.error(error.format_message() if isinstance(error, TyperException) else str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our stdout has gone. Python would complain once more while it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        speaker.error(f"{error.filename or 'file'}: {error.strerror or error}")
        return FAILED
