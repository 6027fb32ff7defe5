"""What an option that there is not was meant as: another option, or a key of the config with the user's value."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence

import click

OPTIONS = {
    "seed": "--seed",
    "quality": "--quality",
    "training.budget": "--budget",
    "output": "--output",
    "data.target": "--target",
    "training.max_minutes": "--max-time",
}
"""Keys that have an option of their own, in the commands that have it."""

SHORT = {"t": "target", "e": "epochs", "b": "batch_size"}
NO_GPU = ("gpu", "gpus", "cuda", "device", "devices", "accelerator", "mps", "tpu", "usegpu")
POSITIONAL = ("config", "configfile", "cfg", "data", "input", "inputs", "file", "csv", "table", "train", "dataset")
CHECKPOINT = ("model", "run", "checkpoint", "checkpointpath", "weights", "net")


def cure(error: click.NoSuchOption, ctx: click.Context, arguments: Sequence[str]) -> str | None:
    """What to write instead of the options that there are not; None where that cannot be told."""
    known = {name for option in ctx.command.params for name in (*option.opts, *option.secondary_opts)}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    unknown = [
        (i, argument)
        for i, argument in enumerate(arguments[:end])
        if argument.startswith(error.option_name) or (argument[:2] == "--" and argument.partition("=")[0] not in known)
    ]
    words, remarks = [], []
    for i, argument in unknown:
        word, remark = _meant(argument, arguments[i + 1 : end], ctx, known)
        if not word and not remark:
            return None
        words += [word] if word else []
        remarks += [remark] if remark and remark not in remarks else []
    names = list(dict.fromkeys(argument.partition("=")[0] for _, argument in unknown))
    said = [*([f"write {' '.join(words)}"] if words else []), *remarks]
    return f"there is no option {' and no '.join(names)}; {'; '.join(said)}" if said else None


def _meant(argument: str, rest: Sequence[str], ctx: click.Context, known: set[str]) -> tuple[str, str]:
    """What to write for one of them, and what else there is to say."""
    from fcnet.config import messages, synonyms

    option, equals, value = argument.partition("=")
    name = SHORT.get(option.lstrip("-"), option.lstrip("-"))
    values = [value] if equals else _values(rest)
    shown = shlex.quote(values[0]) if values else "VALUE"
    settable = any("KEY=VALUE" in (part.metavar or "") for part in ctx.command.params)
    bare = synonyms.bare(name)
    if bare in NO_GPU:
        return "", "fcnet uses no GPU: it computes on the CPU, with all cores that it may use"
    if "--checkpoint" in known and bare in CHECKPOINT:
        return f"-c {shown}", ""
    if bare in (*POSITIONAL, *(CHECKPOINT if not settable else ())):
        return "", f"what it names stands without an option: {ctx.command_path} {shown}"
    key = messages.dotted_key(name)
    if key in OPTIONS and OPTIONS[key] in known:
        return f"{OPTIONS[key]} {shown}", ""
    if key is None or not settable:
        return "", ""
    return shlex.join([f"{key}={messages.setting(key, values)}"]) if values else f"{key}=VALUE", ""


def _values(rest: Sequence[str]) -> list[str]:
    """What follows an option up to the next one: one word, or all words of digits."""
    numbers = list(itertools.takewhile(str.isdecimal, rest))
    first = rest[0] if rest else "-"
    number = first.lstrip("-.")[:1].isdecimal()
    return numbers or ([first] if number or not first.startswith("-") else [])
