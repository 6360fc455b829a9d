"""What goes wrong is told in one sentence: exit code 2 for what the library refuses, 130 for Ctrl-C."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TextIO

import typer

__all__ = ["guarded", "keeping"]

_Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]


class _Interrupted(Exception):
    """Ctrl-C, with a clause that says what was kept."""


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """While this block runs, Ctrl-C is answered by `what` was kept."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise _Interrupted(what) from error


def _tell(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"note: {_one_line(message)}", file=sys.stderr)


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


def _sentence(error: BaseException) -> str:
    """What `error` says; an error of the system names its file first."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return _one_line(error) or type(error).__name__


def _leave(message: str, code: int) -> typer.Exit:
    print(f"submanifold: {message}", file=sys.stderr)
    return typer.Exit(code)


def _run(command: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    from submanifold import errors

    told = (
        errors.InvalidInput,
        errors.IncomparableMeasures,
        errors.TrainingDiverged,
        errors.UnfittedModel,
    )
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _tell
            command(*args, **kwargs)
    except BrokenPipeError:  # whoever read our output has gone: there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except (*told, OSError) as error:
        raise _leave(_sentence(error), 2) from None
    except _Interrupted as error:
        raise _leave(f"interrupted; {error}", 130) from None
    except KeyboardInterrupt:
        raise _leave("interrupted; nothing was written", 130) from None


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option --debug; without it the library's errors become one sentence on stderr."""

    @functools.wraps(command)
    def run(*args: Any, debug: bool = False, **kwargs: Any) -> None:
        if debug:
            command(*args, **kwargs)
        else:
            _run(command, *args, **kwargs)

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Debug)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {**run.__annotations__, "debug": _Debug}
    return run
