"""What a file is that holds no table of ours, by its first bytes and its name, and the command that makes one of it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable

from fcnet.data.cures import beside, from_stdin, quoted
from fcnet.records import dataclass

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive (.zip, .xlsx or .npz)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"ARROW1", "an Arrow file"),
    (b"Obj\x01", "an Avro file"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"$FL2", "an SPSS file"),
    (b"$FL3", "an SPSS file"),
    (b"HEADER RECORD*******LIB", "a SAS transport file"),
    (b"\x00" * 12 + b"\xc2\xea\x81\x60", "a SAS table"),
    (b"<stata_dta>", "a Stata table"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"RDX3\n", "an R workspace"),
    (b"{\\rtf", "a document of a word processor"),
)

_JSON = re.compile(r"\s*(?:\[\s*(?:\{\s*[\"}]|\[)|\{\s*\"[^\"]*\"\s*:)")
_MARKUP = re.compile(r"\s*<(\?xml|!doctype html|html|table|[A-Za-z][\w:.-]*(?:\s[^<>]*)?>)", re.IGNORECASE)
_PAIRS = re.compile(r"\s*[+-]?[0-9.eE+-]+(?:,[0-9.]+)*(?:\s+qid:[0-9]+)?((?:\s+[0-9]{1,18}:[^\s:]+)+)\s*(?:#.*)?")


@dataclass(frozen=True)
class Kind:
    """A kind of file: what to call it, and what to run to make a CSV of it (from a file, to a file)."""

    what: str
    convert: Callable[[str, str], str]


def _python(code: str) -> Callable[[str, str], str]:
    """A command of Python; `FILE` and `CSV` stand for the texts of the two names."""

    def command(file: str, made: str) -> str:
        return "python -c " + shlex.quote(code.replace("FILE", quoted(file)).replace("CSV", quoted(made)))

    return command


def _pandas(reader: str, rest: str = "") -> Callable[[str, str], str]:
    return _python(f"import pandas; pandas.{reader}(FILE{rest}).to_csv(CSV, index=False)")


def _shell(form: str) -> Callable[[str, str], str]:
    return lambda file, made: form.replace("FILE", shlex.quote(file)).replace("CSV", shlex.quote(made))


_ARFF_TO_CSV = _python(
    'import csv, re; head, rows = re.split(r"(?im)^@data.*\\n", open(FILE).read(), maxsplit=1); '
    'names = re.findall(r"(?im)^@attribute\\s+(?:\\x27(.+?)\\x27|\\x22(.+?)\\x22|(\\S+))", head); '
    'out = csv.writer(open(CSV, "w", newline="")); out.writerow("".join(name) for name in names); '
    'out.writerows(csv.reader((row for row in rows.splitlines() if row.strip() and row[0] != "%"), '
    "quotechar=chr(39), skipinitialspace=True))"
)

EXCEL = Kind("an Excel workbook", _pandas("read_excel"))
KINDS: dict[str, Kind] = {
    ".xlsx": EXCEL,
    ".xlsm": EXCEL,
    ".xlsb": EXCEL,
    ".xls": EXCEL,
    ".ods": Kind("an OpenDocument spreadsheet", _pandas("read_excel")),
    ".json": Kind("JSON", _pandas("read_json", ', encoding="utf-8-sig"')),
    ".jsonl": Kind("JSON lines", _pandas("read_json", ', lines=True, encoding="utf-8-sig"')),
    ".arff": Kind("ARFF", _ARFF_TO_CSV),
    ".svm": Kind(
        "svmlight (libsvm)",
        _python(
            "import numpy, sklearn.datasets; x, y = sklearn.datasets.load_svmlight_file(FILE); "
            "numpy.savez(CSV, x=x.toarray(), y=y)"
        ),
    ),
    ".html": Kind("HTML", _python("import pandas; pandas.read_html(FILE)[0].to_csv(CSV, index=False)")),
    ".xml": Kind("XML", _pandas("read_xml")),
    ".sas7bdat": Kind("a SAS table", _pandas("read_sas", ', encoding="utf-8"')),
    ".xpt": Kind("a SAS transport file", _pandas("read_sas", ', format="xport", encoding="utf-8"')),
    ".dta": Kind("a Stata table", _pandas("read_stata")),
    ".sav": Kind("an SPSS file", _pandas("read_spss")),
    ".feather": Kind("an Arrow file", _pandas("read_feather")),
    ".orc": Kind("an ORC file", _pandas("read_orc")),
    ".h5": Kind("an HDF5 file", _pandas("read_hdf")),
    ".pkl": Kind("a Python pickle, which runs what is in it (so only if you trust it)", _pandas("read_pickle")),
    ".npy": Kind("a NumPy .npy file", _python('import numpy; numpy.savetxt(CSV, numpy.load(FILE), delimiter=",")')),
    ".rds": Kind(
        "an R object", _shell("Rscript -e 'write.csv(readRDS(commandArgs(TRUE)), row.names = FALSE)' FILE > CSV")
    ),
    ".bz2": Kind("a bzip2 file", _shell("bunzip2 -c FILE > CSV")),
    ".xz": Kind("an xz file", _shell("xz -dc FILE > CSV")),
    ".zst": Kind("a zstd file", _shell("zstd -dc FILE > CSV")),
    ".zip": Kind("a zip archive", _shell("unzip FILE")),
}
"""By the suffix under which they are usual; `made` ends in .csv, but for svmlight, which becomes an NPZ."""

_OF_MAGIC = {
    "an HDF5 file": ".h5",
    "an SPSS file": ".sav",
    "a SAS transport file": ".xpt",
    "a SAS table": ".sas7bdat",
    "a Stata table": ".dta",
    "an Arrow file": ".feather",
    "a Python pickle": ".pkl",
    "a NumPy .npy file": ".npy",
    "a bzip2 file": ".bz2",
    "an xz file": ".xz",
    "a zstd file": ".zst",
}


def looks_like(start: bytes) -> str | None:
    """What a file that starts with these bytes is, where it is one of the kinds that people rename."""
    return next((what for magic, what in MAGIC if start.startswith(magic)), None)


def foreign(start: bytes, file: str) -> str | None:
    """What a file with these first bytes and this name is, with the command that converts it; None for a text table."""
    what = looks_like(start)
    suffix = os.path.splitext(file)[1].lower()
    if (suffix in KINDS and b"\0" in start[:1024] and what is None) or suffix == ".rds":
        kind = KINDS.get(suffix)
    elif what is None:
        kind = _of_text(start[: 1 << 16].decode("utf-8", "replace").removeprefix("\ufeff"), suffix)
    elif start.startswith(b"PK\x03\x04"):
        kind = _of_zip(start, suffix)
    elif what == "an old Excel or Word file":
        kind = EXCEL if suffix == ".xls" else None
    else:
        kind = KINDS.get(_OF_MAGIC.get(what, ""))
    if kind is not None:
        if from_stdin(file):
            return f"looks like {kind.what}; convert it to CSV"
        made = beside(file, end := ".npz" if kind is KINDS[".svm"] else ".csv")
        if made == os.path.basename(file):
            made = beside(file, ".converted" + end)
        return f"looks like {kind.what}; convert it: {kind.convert(file, made)}"
    return None if what is None else f"looks like {what}, not like a text table; give it its proper name, or convert it"


def _of_zip(start: bytes, suffix: str) -> Kind | None:
    if b"opendocument.spreadsheet" in start[:200]:
        return KINDS[".ods"]
    if any(name in start[:4096] for name in (b"[Content_Types].xml", b"docProps/", b"xl/")):
        return EXCEL if suffix not in (".docx", ".pptx") else None
    return KINDS.get(suffix) if suffix in (".xlsx", ".xlsm", ".xlsb", ".ods", ".zip") else None


def _of_text(text: str, suffix: str) -> Kind | None:
    lines = [line for line in text.split("\n")[:-1] or [text] if line.strip()][:20]
    first = next((line.strip().lower() for line in text.split("\n") if line.strip() and line.lstrip()[0] != "%"), "")
    if first.startswith("@relation"):
        return KINDS[".arff"]
    if _JSON.match(text):
        many = len(lines) > 1 and all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines)
        return KINDS[".jsonl" if many else ".json"]
    if found := _MARKUP.match(text):
        markup = found[1].lower()
        if markup.startswith(("?xml", "!doctype", "html", "table")) or suffix in (".xml", ".html", ".htm"):
            return KINDS[".xml" if markup.startswith("?xml") or suffix == ".xml" else ".html"]
    if lines and all(_is_pairs(line) for line in lines) and any(line.count(":") > 1 for line in lines):
        return KINDS[".svm"]
    return None


def _is_pairs(line: str) -> bool:
    """Whether a line is a label and `index:value` pairs, their indices ascending."""
    found = _PAIRS.fullmatch(line)
    if found is None:
        return False
    places = [int(pair.partition(":")[0]) for pair in found[1].split()]
    return places == sorted(set(places))
