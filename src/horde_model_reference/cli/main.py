"""The program: its commands, the options that all share, and which error is which exit code.

A command is a function of a `Session` and its own words that prints, and gives back an exit code where it is not always
0. What it raises is told in one line here, and nowhere else.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from difflib import get_close_matches
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated

from typer import Abort, BadParameter, Context, Exit, Option, Typer

from horde_model_reference import __version__, errors
from horde_model_reference.cli import health, moderating, reading, serving, storing
from horde_model_reference.cli.context import Session
from horde_model_reference.cli.output import tell

__all__ = ["app", "main"]

_UNEXPECTED, _INTERRUPTED, _BROKEN_PIPE = 70, 130, 141
_CODES: tuple[tuple[int, tuple[type[BaseException], ...]], ...] = (
    (_INTERRUPTED, (KeyboardInterrupt,)),
    (_BROKEN_PIPE, (BrokenPipeError,)),
    (3, (errors.UnknownCategory, errors.ModelNotFound, errors.RevisionUnknown, FileNotFoundError)),
    (3, (errors.ChangeNotFound,)),
    (4, (errors.MalformedInput, errors.UnsafeName)),
    (2, (errors.NotAllowed,)),  # which Python takes for an error of the operating system
    (5, (errors.StoreError, errors.SourceUnavailable, errors.ReferenceUnavailable, OSError)),
    (2, (errors.HordeModelReferenceError, ModuleNotFoundError)),
)
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (errors.StoreCorrupt, "move the file away and import again, or restore a backup; `hmr doctor` looks closer"),
    (errors.ReferenceUnavailable, "`hmr status` shows what this machine reads, --offline leaves the network out"),
    (errors.SettingsInvalid, "correct the environment variable; docs/configuration.md lists them all"),
    (errors.UnknownCategory, "`hmr list` shows the categories"),
    (errors.NotAllowed, "docs/who-may-do-what.md says who may do what"),
    (errors.ChangeRefused, "`hmr review ID` shows how a change stands"),
    (errors.ModelExists, "with --update it is changed"),
    (
        ModuleNotFoundError,
        "an extra is missing; pip install 'horde_model_reference[service]' brings all that hmr needs",
    ),
)
_EXIT_CODES = """\b
Exit codes:
  0    done, and nothing is wrong
  1    done, and something was found: differences, faults, records set aside
  2    the words, options or settings cannot be used, moderation refuses, or an extra is missing
  3    no such category, model, revision, change or file
  4    the input cannot be read
  5    the store, a source or the disk is not available
  70   a defect of this program; --traceback shows where
  130  interrupted
  141  the reader of the output went away
"""
_QUERIES = (
    "image_generation baseline=stable_diffusion_xl nsfw=false tags=anime",
    "image_generation size_on_disk_bytes__lt=4e9 --sort -size_on_disk_bytes,name --limit 10",
    "text_generation parameters_count__gte=7e9 --columns name,parameters_count --csv",
    "all name__contains=XL --json",
)
_PROPOSALS = (
    "record.json",
    "--from-url https://example.org/4x.pth --category esrgan --sha256 FIXME --size 67000000",
    "records.json --update --set nsfw=false",
    "--delete Deliberate --category image_generation",
)
_COMMANDS: tuple[tuple[str, Callable[..., int | None], tuple[str, ...]], ...] = (
    ("import", storing.import_, ("--starter", "../legacy --dry-run", 'all.bundle.json --prune --note "restored"')),
    ("export", storing.export, ("./legacy --format legacy --category clip", "--bundle all.json --at 2026-11-01")),
    ("list", reading.list_, ("", "image_generation --limit 20")),
    ("show", reading.show, ("image_generation Deliberate", "clip ViT-L/14 --json --at 2026-11-01")),
    ("query", reading.query, _QUERIES),
    ("stats", reading.stats, ("", "image_generation --json")),
    ("validate", storing.validate, ("../legacy", "stable_diffusion.json --strict")),
    ("diff", storing.diff, ("2100", "2026-11-01 head --category image_generation", "./before ./after --json")),
    ("log", storing.log, ("", "--since 2000 --category image_generation --limit 100", "--queue")),
    ("verify", storing.verify, ("",)),
    ("propose", moderating.propose, _PROPOSALS),
    ("changes", moderating.changes, ("--status pending", "--mine --category clip --json")),
    ("review", moderating.review, ("12", "12 --again")),
    ("approve", moderating.approve, ('12 13 --title "new upscalers"',)),
    ("reject", moderating.reject, ('14 --reason "the hash is not that of the file"',)),
    ("apply", moderating.apply, ("12 13", "--batch 3 --job-id monday")),
    ("revert", moderating.revert, ('12 --reason "the file is gone"',)),
    ("withdraw", moderating.withdraw, ("12",)),
    ("rebase", moderating.rebase, ("12",)),
    ("comment", moderating.comment, ('12 "where is the license?"',)),
    ("audit", moderating.audit, ("export > audit.jsonl",)),
    ("replay", storing.export, ("./then --at 2026-11-01",)),
    ("config", health.config, ("--changed", "--json")),
    ("status", reading.status, ("", "--offline --json")),
    ("doctor", health.doctor, ("", "--offline")),
    ("serve", serving.serve, ("", "--host 0.0.0.0 --port 8080 --root /srv/horde_model_reference")),
    ("demo", serving.demo, ("", "--data ../legacy --port 19800")),
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hmr {__version__}")
        raise Exit


def hmr(
    _session: Session,
    version: Annotated[bool, Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """The registry of AI model metadata for the AI Horde.

    Commands read the store of this machine if it has one, else what a worker here would: the PRIMARY over HTTP, then
    the files under the data root, then the starter catalogue. The common options may stand before or after the command.
    """


def _face(function: Callable[..., int | None], *without: str) -> Callable[..., None]:
    """The function as typer shall see it: without the session, with the common options, its errors told."""
    common = [p for p in signature(Session, eval_str=True).parameters.values() if p.name not in without]
    _, *own = signature(function, eval_str=True).parameters.values()

    def face(context: Context, **words: object) -> None:
        session = context.ensure_object(Session)
        for word in common:  # what stands after the command is stronger than what stands before it
            setattr(session, word.name, words.pop(word.name) or getattr(session, word.name))
        try:
            with closing(session):
                code = function(session, **words) or 0
                sys.stdout.flush()
        except (Exit, Abort, BadParameter):
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the last one before the user)
            code = _tell_error(error, session.traceback)
        if code:
            raise Exit(code)

    face.__doc__ = function.__doc__
    parameters = (p.replace(kind=Parameter.KEYWORD_ONLY) for p in (*own, *common))
    context = Parameter("context", Parameter.KEYWORD_ONLY, annotation=Context)
    vars(face)["__signature__"] = Signature([context, *parameters])
    return face


def _flushed(code: int) -> int:
    """The exit code, once nothing is left to write: the interpreter's own last flush would end with one of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout or isinstance(error, BrokenPipeError):
                code = code or _code_of_error(error)
    return code


def _code_of_error(error: BaseException) -> int:
    return next((code for code, kinds in _CODES if isinstance(error, kinds)), _UNEXPECTED)


def _tell_error(error: BaseException, with_traceback: bool) -> int:
    code, lines = _code_of_error(error), str(error).splitlines() or [type(error).__name__]
    if code == _UNEXPECTED:
        defect = "this is a defect; run it again with --traceback and report what that shows"
        lines = [f"unexpected {type(error).__name__}: {error}", defect]
    elif code in (_INTERRUPTED, _BROKEN_PIPE):
        lines = ["interrupted"] * (code == _INTERRUPTED)
    elif isinstance(error, OSError) and error.filename:
        lines = [f"{error.filename}: {error.strerror}"]
    lines += getattr(error, "__notes__", ())
    if isinstance(error, errors.UnknownCategory) and (close := get_close_matches(error.category, error.known)):
        lines.append(f"Did you mean {', '.join(close)}?")
    lines += [advice for kind, advice in _ADVICE if isinstance(error, kind)]
    try:
        if with_traceback:
            traceback.print_exception(error)
        for number, line in enumerate(lines):
            tell(f"  {line}" if number else f"hmr: {line}")
    except BrokenPipeError:  # nobody is there to be told
        return _BROKEN_PIPE
    return code


app = Typer(rich_markup_mode=None, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
app.callback(epilog=_EXIT_CODES)(_face(hmr))
for _name, _function, _examples in _COMMANDS:
    _epilog = "\n".join(["\b", "Examples:", *(f"  hmr {_name} {words}" for words in _examples)])
    app.command(_name, epilog=_epilog)(_face(_function, *(["as_json"] if _name in ("serve", "demo") else [])))


class _OnStandardError(logging.Handler):
    """Shows what the library warns of; a value that a vocabulary does not know yet is `validate`'s to report."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "horde_model_reference":
            tell(f"hmr: {record.getMessage()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives back the exit code and never raises for what went wrong."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the shell closed it: `>&-`
            setattr(sys, name, io.StringIO())
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no reason to fail
    called = Path(sys.argv[0]).name
    library, handler = logging.getLogger("horde_model_reference"), _OnStandardError(logging.WARNING)
    library.addHandler(handler)
    try:
        app(args=arguments, prog_name=called if called == "horde-model-reference" else "hmr")
    except SystemExit as done:
        return _flushed(done.code if isinstance(done.code, int) else int(done.code is not None))
    except OSError as error:  # not even what went wrong could be told
        return _flushed(_code_of_error(error))
    finally:
        library.removeHandler(handler)
    return _flushed(0)
