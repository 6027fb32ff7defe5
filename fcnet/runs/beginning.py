"""What a run starts from: nothing, the folder and checkpoint that it goes on from, or an end already reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcnet import config as configs
from fcnet import files
from fcnet.config.schema import Config
from fcnet.errors import CheckpointError, ConfigError, FcnetError, Problem
from fcnet.records import dataclass
from fcnet.runs import checkpoint, folder
from fcnet.runs.model import understand

_FILES = ("train", "validation", "test", "teacher")


@dataclass(frozen=True)
class Beginning:
    """`run` is the open, locked folder to go on in, `held` its checkpoint; both None for a new run.

    `done` is the summary of a run, in the folder `path`, that is complete and has nothing left to do.
    """

    run: folder.RunFolder | None = None
    held: checkpoint.Checkpoint | None = None
    path: Path | None = None
    done: Mapping[str, Any] | None = None


def begin(config: Config, resume: bool | Path | None) -> Beginning:
    """Find what `resume` asks for: True for the newest run of the config's name, or a run folder.

    Raises ConfigError for keys that must not differ from the run's, CheckpointError where it cannot be continued,
    InUseError where another process works on it.
    """
    if not resume:
        return Beginning()
    path = resume if isinstance(resume, Path) else folder.newest_of(Path(config.output), config.name)
    if path is None:
        return Beginning()
    if not files.is_folder(path):
        raise CheckpointError("there is no such run folder", file=str(path))
    if folder.is_complete(path):
        found = _look(path, config)
        if found.done is not None:  # before it is locked: what is complete need not even be writable
            return found
    run = folder.reopen(path)
    try:
        found = _look(path, config)
        if found.done is not None:  # another process has completed it in the meantime
            run.close()
            return found
        return Beginning(run, found.held, path)
    except BaseException:
        run.close()
        raise


def portable(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A spelled-out config without the folders of its data files: paths are compared, and recorded, by their names."""
    section = {key: Path(v).name if key in _FILES and isinstance(v, str) else v for key, v in mapping["data"].items()}
    return without_path({**mapping, "data": section, "output": Path(str(mapping["output"])).name or "runs"})


def without_path(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A spelled-out config that names no table where its rows came from memory."""
    section = {key: value for key, value in mapping["data"].items() if key != "train" or value}
    return {**mapping, "data": section}


def _look(path: Path, config: Config) -> Beginning:
    last = folder.resumable(path)
    held = None if last is None else folder.read_last(last)
    if held is not None:
        understand(held)
        _same_config(held, configs.to_mapping(config))
    if folder.is_complete(path) and (held is None or not _goes_on(held, config)):
        return Beginning(None, held, path, _summary(path))
    return Beginning(None, held, path)


def _goes_on(held: checkpoint.Checkpoint, config: Config) -> bool:
    """Whether a complete run has epochs left under this config: it was given more than it had."""
    match held.header.get("state"):
        case {"finished": finished, "epoch": int(epoch)}:
            planned = config.training.budget is not None or config.cv is not None  # as many as fit; folds are all done
            return finished is None and not planned and config.training.epochs > epoch
    raise CheckpointError("its header lacks the state, so the run cannot be continued", file=str(held.path))


def _summary(path: Path) -> Mapping[str, Any]:
    with files.Folder(path) as held:
        text = held.read(folder.SUMMARY)
    try:
        summary = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        summary = None
    if not isinstance(summary, dict):
        raise CheckpointError("it is damaged; remove it, and --resume writes it anew", file=str(path / folder.SUMMARY))
    return summary


def _same_config(held: checkpoint.Checkpoint, given: Mapping[str, Any]) -> None:
    """Every key must be as it was given, or as it was resolved; ConfigError lists the others."""
    as_given, resolved = (_spelled(held, key) for key in ("given", "config"))
    now = portable(given)
    differing = {key for key, _, _ in configs.differences(resolved, now)}
    changed = [found for found in configs.differences(as_given, now) if found[0] in differing]
    if changed:
        raise ConfigError(
            Problem(
                f"is {_shown(new)}, and the run was begun with {_shown(old)}; a resumed run goes on as it began (only "
                "training.epochs, training.max_minutes, training.checkpoint and output may differ): put it back, or "
                "start a new run without --resume",
                key=key,
            )
            for key, old, new in changed
        )


def _spelled(held: checkpoint.Checkpoint, key: str) -> dict[str, Any]:
    """A config in the header, spelled out anew: what an earlier fcnet did not know yet has its default."""
    recorded = held.header.get(key)
    if not isinstance(recorded, dict):
        raise CheckpointError(f"its header lacks the {key}, so the run cannot be continued", file=str(held.path))
    try:
        return portable(configs.to_mapping(configs.from_mapping(recorded, needs_data=False)))
    except FcnetError as error:
        raise CheckpointError(f"the config inside is wrong: {error.problems[0]}", file=str(held.path)) from None


def _shown(value: Any) -> str:
    text = files.json_text(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
