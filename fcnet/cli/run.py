"""One command line from its arguments to its exit code; every way to fail ends here, and none with a traceback."""

from __future__ import annotations

import errno
import os
import sys

import click

from fcnet import files, signals
from fcnet.cli import streams
from fcnet.cli.group import fcnet
from fcnet.errors import FcnetError, StorageError, UsageError, escape

BUG, GONE, FULL, MEMORY = 1, 141, StorageError.exit_code, 9


def run(arguments: list[str], began: float | None = None) -> int:
    """Run the command and return the exit code of the contract; `began`: when, by the monotonic clock."""
    files.repair_std_descriptors()
    signals.watch()
    streams.tolerate()
    streams.ENDINGS.clear()
    if os.environ.get("_FCNET_COMPLETE"):
        fcnet.main(arguments, prog_name="fcnet")
    code, said = _guarded(arguments, began)
    try:
        sys.stdout.flush()
    except OSError as error:
        code, more = _unwritten(error)
        said += more
    streams.part(code, said)
    streams.STDERR.flush()
    return code


Ending = tuple[int, list[str]]
"""The exit code, and what is said last on stderr."""


def _guarded(arguments: list[str], began: float | None) -> Ending:
    try:
        with fcnet.make_context("fcnet", arguments) as context:
            context.meta["began"] = began
            fcnet.invoke(context)
        return 0, []
    except click.exceptions.Exit as end:
        return end.exit_code, []
    except click.exceptions.NoArgsIsHelpError as error:
        return UsageError.exit_code, [error.format_message()]
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        said = escape(error.format_message()).rstrip(".")
        hint = f"see {where.command_path} --help" if where else ""
        return UsageError.exit_code, [
            f"fcnet: {said}{' ' if said.endswith('?') else '; '}{hint}" if hint else f"fcnet: {said}"
        ]
    except FcnetError as error:
        notes = map(escape, getattr(error, "__notes__", ()))
        return error.exit_code, [*(f"fcnet: {problem}" for problem in error.problems), *notes]
    except signals.Interrupted as end:
        return end.exit_code, signals.parting(end.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return signals.KEYBOARD, ["fcnet: stopped by Ctrl-C"]
    except MemoryError:
        said = "out of memory; use smaller data, a smaller net or a smaller batch, or a larger machine"
        return MEMORY, [f"fcnet: {said}"]
    except OSError as error:
        return _unwritten(error)
    except Exception as error:  # noqa: BLE001  # whatever it is, the user gets one line and no traceback
        return _bug(error)


def _unwritten(error: OSError) -> Ending:
    """A failed system call that nobody made an error of ours of: nearly always stdout."""
    if error.filename is None and error.errno == errno.ENOENT:  # a stream is always there
        return FULL, [f"fcnet: {_lacking()}"]
    if error.filename is None:
        streams.abandon(sys.stdout, 1)
    if error.errno == errno.EPIPE:
        return GONE, []
    where = escape(str(error.filename or "standard output"))
    why = "it is closed" if error.errno == errno.EBADF else files.reason(error)
    return FULL, [f"fcnet: {where}: {why}"]


def _lacking() -> str:
    """What is asked for without a name, and is not there."""
    try:
        os.getcwd()
    except OSError:
        return "the working directory has been deleted; go to one that is there"
    return "there is no folder for temporary files that can be written; name one with TMPDIR"


def _bug(error: Exception) -> Ending:
    import tempfile  # there is hardly ever a bug to be reported
    import traceback

    text = traceback.format_exc()
    lines = [text.rstrip()] if os.environ.get("FCNET_DEBUG") == "1" else []
    said = escape(f"{type(error).__name__}: {error}".partition("\n")[0][:200])
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="fcnet-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
        how = f"please report it with the file {file.name}"
    except OSError:
        how = "FCNET_DEBUG=1 prints the traceback"
    return BUG, [*lines, f"fcnet: a bug in fcnet ({said}); {how}"]
