"""Reads YAML text into a plain tree with the place of every entry; anchors, tags, duplicates and floods are refused.

Only the events of PyYAML's pure parser are used, so no node is ever built or walked, no tag is ever resolved, and the
depth is known before anything recurses. (The C parser crashes on 100,000 open brackets.)
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml

from fcnet.config.places import COMMAND_LINE, UNUSABLE, Finding, Path, Place, Plain, Tree, failure, shortened
from fcnet.config.scalars import NotPlain, read
from fcnet.errors import ConfigError, StorageError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_EVENTS = 40_000  # about 20,000 entries and 3 seconds: the parser is slow

# What YAML allows, less the rare line separators that editors do not count as lines.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_file(path: str | os.PathLike[str]) -> Tree:
    """The config at `path`. Raises ConfigError when it is missing or wrong, StorageError when it cannot be read."""
    file = os.fspath(path)
    try:
        # A pipe or a device would block or never end, so look before opening.
        if not stat.S_ISREG(FilePath(file).stat().st_mode):
            raise ConfigError("is not a plain file; give the path of a YAML config", file=file)
        with FilePath(file).open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError("there is no such file; give the path of a YAML config", file=shortened(file, 300)) from None
    except ValueError:  # a NUL in the path
        raise ConfigError("is no usable path", file=shortened(file, 300)) from None
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror or error}", file=shortened(file, 300)) from None
    return parse(decode(raw, file), file)


def decode(raw: bytes, file: str) -> str:
    """The characters of a config: UTF-8, with or without a byte-order mark, at most 256 KiB, no control characters."""
    if len(raw) > MAX_BYTES:
        raise ConfigError("is larger than 256 KiB; is it really a config?", file=file)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError("looks like UTF-16; save it as UTF-8", file=file, line=1, column=1)
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _line_and_column(raw[: error.start].decode("utf-8"))
        what = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigError(what, file=file, line=line, column=column) from None
    return text


def parse(text: str, file: str) -> Tree:
    """The tree of one config. Raises ConfigError where nothing can be said about the rest of the text."""
    tree = Tree({}, file)
    value = parse_value(text, tree, ())
    if value is None and not tree.findings:
        raise ConfigError("is empty; `fcnet init DATA.csv --target COLUMN` writes a config to start from", file=file)
    if isinstance(value, dict):
        tree.root = value
    elif not tree.findings:
        what = "a list" if isinstance(value, list) else f'"{shortened(str(value))}"'
        place = tree.values[()]
        raise ConfigError(
            f"{what}, expected a mapping: lines of the form `key: value`",
            file=file,
            line=place.line,
            column=place.column,
        )
    return tree


def parse_value(text: str, tree: Tree, path: Path) -> Plain:
    """Any YAML value; its places and problems go into `tree` under `path`.

    Raises ConfigError, with the problems met before, where the text is no YAML at all.
    """
    bad = _FORBIDDEN.search(text)
    if bad:
        hint = "; is it UTF-16? save it as UTF-8" if bad[0] == "\0" else "; remove it"
        place = _place(tree, *_line_and_column(text[: bad.start()]))
        text = f"the character U+{ord(bad[0]):04X} is not allowed{hint}"
        tree.findings.append(Finding("such problems", path, text, place))
        raise failure(tree.findings)
    return _EventReader(text, tree, path).document()


def _place(tree: Tree, line: int, column: int) -> Place:
    """A place in the tree's file; the command line has no lines."""
    return Place(tree.file) if tree.file == COMMAND_LINE else Place(tree.file, line, column)


def _line_and_column(before: str) -> tuple[int, int]:
    """Line and column, from 1, of the character that follows `before`."""
    lines = re.split("\r\n|\r|\n", before)
    return len(lines), len(lines[-1]) + 1


class _EventReader:
    """One pass over the parser's events."""

    def __init__(self, text: str, tree: Tree, path: Path) -> None:
        self.loader = yaml.SafeLoader(text)
        self.tree = tree
        self.path = path
        self.depth = 0
        self.events = 0

    def document(self) -> Plain:
        """The value of the only document."""
        self.next()  # the start of the stream
        if isinstance(self.next(), yaml.StreamEndEvent):
            return None
        value = self.value(self.next(), self.path)
        self.next()  # the end of the document
        event = self.next()
        if not isinstance(event, yaml.StreamEndEvent):
            self.stop("a second document starts here; a config is one document", event.start_mark)
        return value

    def next(self) -> yaml.Event:
        """The next event; whatever the parser raises becomes a ConfigError with line and column."""
        try:
            event: yaml.Event = self.loader.get_event()  # type: ignore[no-untyped-call]
        except yaml.MarkedYAMLError as error:
            self.stop(_syntax(error), error.problem_mark or error.context_mark)
        except Exception:  # noqa: BLE001 # the parser also raises ValueError, AttributeError, KeyError, … on hostile text
            self.stop("is not valid YAML here", self.loader.get_mark())
        self.events += 1
        if self.events > MAX_EVENTS:
            self.stop(f"more than {MAX_EVENTS:,} keys and values; is it really a config?", event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                self.stop(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.depth -= 1
        return event

    def value(self, event: yaml.Event, path: Path) -> Plain:
        """The value that starts with `event`; the value of an entry with a problem is None."""
        place = self.place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self.tree.values[path] = place
            self.note(path, "aliases are not allowed; write the value out", place)
            return None
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.anchor is not None:
            self.note(path, f"anchors (&{shortened(event.anchor)}) are not allowed; write the value out", place)
        if event.tag is not None:
            self.note(path, f"tags ({shortened(event.tag)}) are not allowed; write the plain value", place)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path, place)
        self.tree.values[path] = place
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path)
        return self.mapping(path)

    def scalar(self, event: yaml.ScalarEvent, path: Path, place: Place) -> Plain:
        text, quoted = event.value, bool(event.style)
        self.tree.values[path] = Place(place.file, place.line, place.column, text, quoted)
        if UNUSABLE.search(text):
            self.note(path, "the text holds a NUL or half of a surrogate pair; remove that escape", place)
            return None
        try:
            return text if quoted else read(text)
        except NotPlain as error:
            self.note(path, str(error), place)
            return None

    def sequence(self, path: Path) -> list[Plain]:
        items: list[Plain] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self.value(event, (*path, len(items))))
        return items

    def mapping(self, path: Path) -> dict[str, Plain]:
        entries: dict[str, Plain] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key, place = self.key(event, path)
            if key is None:
                self.skip(self.next())
            elif key in entries:
                first = self.tree.keys[(*path, key)].line
                where = f" (first on line {first})" if first is not None else ""
                here = f" on line {place.line}" if place.line is not None else ""
                text = f"the key is there twice{where}, again{here}; keep one"
                self.tree.findings.append(Finding("duplicate keys", (*path, key), text, place))
                self.skip(self.next())
            else:
                self.tree.keys[(*path, key)] = place
                entries[key] = self.value(self.next(), (*path, key))
        return entries

    def key(self, event: yaml.Event, path: Path) -> tuple[str | None, Place]:
        """The text of a key, whatever it looks like (labels may be numbers), or None where it cannot be one."""
        place = self.place(event.start_mark)
        name, problem = "?", ""
        if isinstance(event, yaml.AliasEvent):
            name, problem = f"*{event.anchor}", "aliases are not allowed; write the key out"
        elif not isinstance(event, yaml.ScalarEvent):
            self.skip(event)
            problem = "a list or a mapping cannot be a key; keys are texts"
        else:
            name = event.value
            if event.anchor is not None:
                problem = f"anchors (&{shortened(event.anchor)}) are not allowed; write the value out"
            elif event.tag is not None:
                problem = f"tags ({shortened(event.tag)}) are not allowed; write the plain key"
            elif name == "<<" and not event.style:
                problem = "merge keys are not allowed; write the entries out"
            elif not name and not event.style:
                name, problem = "?", "a key is missing before the colon"
            elif UNUSABLE.search(name):
                problem = "the key holds a NUL or half of a surrogate pair; remove that escape"
        if problem:
            self.note((*path, name), problem, place)
        return None if problem else name, place

    def skip(self, event: yaml.Event) -> None:
        """Pass over the value that starts with `event`."""
        outside = self.depth - isinstance(event, yaml.CollectionStartEvent)
        while self.depth > outside:
            self.next()

    def place(self, mark: Any) -> Place:
        return _place(self.tree, mark.line + 1, mark.column + 1) if mark else Place(self.tree.file)

    def note(self, path: Path, text: str, place: Place) -> None:
        self.tree.findings.append(Finding("such problems", path, text, place))

    def stop(self, text: str, mark: Any) -> NoReturn:
        self.tree.findings.append(Finding("ends", self.path, text, self.place(mark)))
        raise failure(self.tree.findings)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """The parser's complaint in words that say what to do."""
    problem = (error.problem or "").strip()
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    return f"is not valid YAML here: {shortened(problem, 160)}" if problem else "is not valid YAML here"
