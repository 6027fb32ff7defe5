"""One thing in every source: what was learned from CSV, Parquet, NPZ, pandas or polars is found in all the others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcnet.data import Tally, load, score, stream
from fcnet.data.options import Data, Preprocess
from fcnet.errors import DataError

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

ROOT = Path(__file__).parents[2]
N = 24
Y = ["no", "yes", "no", "maybe"] * (N // 4)


def repeated(*values: Any) -> list[Any]:
    """N cells, each value as often as the others."""
    return [values[i % len(values)] for i in range(N)]


@dataclass(frozen=True)
class Kind:
    """Cells of one kind of column, and how they are declared where that is not what their values say."""

    cells: list[Any]
    pandas: Any = None
    polars: Any = None
    npz: Callable[[list[Any]], Any] = np.array
    categorical: bool = False


def texts(cells: list[Any]) -> Any:
    """Cells as NPZ can hold them that has no type for them."""
    return np.array(["" if cell is None else str(cell) for cell in cells])


def floats(cells: list[Any]) -> Any:
    """Numbers with NaN for what is missing."""
    return np.array([np.nan if cell is None else float(cell) for cell in cells])


BERLIN = dt.timezone(dt.timedelta(hours=2))
DAY = dt.datetime(2020, 5, 17)  # noqa: DTZ001  what most tables hold
MOMENTS = [DAY, DAY + dt.timedelta(hours=12, minutes=30), DAY + dt.timedelta(days=3, hours=1)]

KINDS = {
    "numbers with fractions": Kind(repeated(0.5, 1.25, -3.0, 1e-5)),
    "whole numbers": Kind(repeated(3, 1, 2, 10)),
    "whole numbers, some missing": Kind(repeated(3, 1, None, 10), npz=floats),
    "whole numbers as categories": Kind(repeated(3, 1, 2, 10), categorical=True),
    "the same, some missing": Kind(repeated(3, 1, None, 10), npz=floats, categorical=True),
    "fractions as categories": Kind(repeated(0.5, 1.0, -2.25, 0.1), categorical=True),
    "float32 as categories": Kind(
        repeated(0.5, 1.0, -2.25, 0.1),
        pandas="float32",
        polars=pl.Float32,
        npz=lambda cells: np.array(cells, np.float32),
        categorical=True,
    ),
    "decimals": Kind(
        repeated(Decimal("1.50"), Decimal("20.25"), Decimal("3.00")), polars=pl.Decimal(10, 2), npz=floats
    ),
    "integers of 128 bits": Kind(repeated(3, 1, 2, 10), pandas="object", polars=pl.Int128),
    "booleans": Kind(repeated(True, False, False)),
    "booleans, some missing": Kind(repeated(True, False, None), npz=texts),
    "texts": Kind(repeated("red", "blue", "green")),
    "texts, some missing": Kind(repeated("red", None, "green"), npz=texts),
    "declared categories": Kind(repeated("red", "blue", "green"), pandas="category", polars=pl.Categorical),
    "declared categories of whole numbers": Kind(
        repeated(3, 1, 2, 10), pandas="category", polars=pl.Enum(list("123") + ["10"])
    ),
    "dates": Kind(repeated(DAY.date(), dt.date(1999, 12, 31), None), npz=texts),
    "dates and times": Kind(repeated(*MOMENTS, None), npz=texts),
    "the same at midnight": Kind(repeated(DAY, DAY + dt.timedelta(days=1), None), npz=texts),
    "the same with fractions": Kind(repeated(DAY, DAY + dt.timedelta(seconds=1.5)), npz=texts),
    "the same with a zone": Kind(
        repeated(*(moment.replace(tzinfo=BERLIN) for moment in MOMENTS)),
        polars=pl.Datetime("us", "Europe/Berlin"),
        npz=texts,
    ),
    "times of day": Kind(repeated(dt.time(12, 30), dt.time(0), dt.time(1, 2, 3, 500_000), None), npz=texts),
}


def pandas_frame(kind: Kind, name: str = "c") -> Any:
    cells = kind.cells
    return pd.DataFrame({name: pd.Series(cells, dtype=kind.pandas), "label": Y})


def polars_frame(kind: Kind, name: str = "c") -> Any:
    cells = kind.cells
    if kind.polars is not None and kind.polars == pl.Enum:
        cells = list(map(str, cells))
    if isinstance(kind.polars, pl.Decimal):
        return pl.DataFrame({name: pl.Series(cells).cast(kind.polars), "label": Y})
    return pl.DataFrame({name: pl.Series(cells, dtype=kind.polars), "label": Y})


def write_csv(kind: Kind, at: Path) -> Path:
    pandas_frame(kind).to_csv(at / "pandas.csv", index=False)
    return at / "pandas.csv"


def write_csv_by_polars(kind: Kind, at: Path) -> Path:
    polars_frame(kind).write_csv(at / "polars.csv")
    return at / "polars.csv"


def write_parquet(kind: Kind, at: Path) -> Path:
    polars_frame(kind).write_parquet(at / "t.parquet")
    return at / "t.parquet"


def write_npz(kind: Kind, at: Path) -> Path:
    np.savez(at / "t.npz", x=kind.npz(kind.cells), y=np.array(Y), columns=np.array(["c"]))
    return at / "t.npz"


def objects(kind: Kind, at: Path) -> Any:
    cells = np.array([*kind.cells, None], dtype=object)[:-1]
    return pd.DataFrame({"c": cells, "label": Y}, dtype=object)


SOURCES: dict[str, Callable[[Kind, Path], Any]] = {
    "CSV": write_csv,
    "Parquet": write_parquet,
    "NPZ": write_npz,
    "pandas": lambda kind, at: pandas_frame(kind),
    "polars": lambda kind, at: polars_frame(kind),
}
OTHERS = {"CSV of polars": write_csv_by_polars, "objects": objects}


REFUSED = {
    "durations": Kind(
        repeated(dt.timedelta(hours=1), dt.timedelta(days=2)), npz=lambda cells: np.array(cells, "m8[s]")
    ),
    "complex numbers": Kind(repeated(1 + 2j, 2 - 1j)),
    "bytes": Kind(repeated(b"a", b"b")),
    "lists": Kind(repeated([1, 2], [3]), npz=lambda cells: np.array([*cells, None], dtype=object)[:-1]),
    "structs": Kind(repeated({"a": 1}, {"a": 2})),
}


def matrix(at: Path) -> str:
    """How each kind of column is read from each source, and whether a net predicts from all others alike."""
    lines = ["| column | " + " | ".join(SOURCES) + " | predicts alike from |", "|---|" + "---|" * (len(SOURCES) + 1)]
    for name, kind in (KINDS | REFUSED).items():
        read, found = [], {}
        for source, give in SOURCES.items():
            try:
                table = give(kind, at)
            except Exception:  # noqa: BLE001  no such type there
                read.append("–")
                continue
            try:
                found[source] = table, trained(table, kind)
                read.append(found[source][1].encoder.features[0].kind)
            except DataError:
                read.append("error")
        alike = name in KINDS and all(
            np.allclose(inputs(table, net), net.x, rtol=1e-6, atol=1e-6)
            for _, net in found.values()
            for table, _ in found.values()
        )
        lines.append(f"| {name} | {' | '.join(read)} | {'all' if alike else '–'} |")
    return "\n".join(lines) + "\n"


def inputs(source: Any, net: Any) -> Any:
    """What a net gets to see of a table, of which no cell may be unknown to it."""
    chunks = stream(source, net.resolved, net.encoder, net.target, Tally(strict=True))
    return np.concatenate([inputs.x for inputs, _ in chunks])


def test_the_matrix_of_sources_and_kinds_is_that_of_the_documentation(tmp_path):
    """docs/data.md shows how each kind of column is read from each source, as it is."""
    found = matrix(tmp_path)

    print(found)
    assert found in (ROOT / "docs" / "data.md").read_text()


def trained(source: Any, kind: Kind, target: str = "label", **options: Any) -> Any:
    categorical = ["c"] if kind.categorical and target != "c" else []
    section = Data(
        train=str(source) if isinstance(source, Path) else "",
        validation=0,
        target=target,
        categorical=categorical,
        features="all",
        **options,
    )
    return load(section, Preprocess(), data=None if isinstance(source, Path) else source)


@pytest.mark.parametrize("name", KINDS)
def test_what_was_learned_from_one_source_is_found_in_all_others(tmp_path, name):
    """For all pairs of sources, the inputs of the second are those of the first, of which no cell is unknown."""
    kind = KINDS[name]
    places = {source: give(kind, tmp_path) for source, give in (SOURCES | OTHERS).items()}

    for of, source in places.items():
        found = trained(source, kind)
        category = found.encoder.features[0].kind == "category"
        assert len(np.unique(found.x, axis=0)) == len(set(kind.cells) - (set() if category else {None})), of
        for to, other in places.items():
            assert np.allclose(inputs(other, found), found.x, rtol=1e-6, atol=1e-6), (of, to)


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        pytest.param((3, 1, -999, 10), "-999", id="whole-numbers"),
        pytest.param((0.5, -999.0, 3.25, 7.0), "-999", id="fractions"),
        pytest.param((0.5, -99.9, 3.25, 7.0), "-99.9", id="a-fraction"),
        pytest.param((3, 1, -(2**63), 10), str(-(2**63)), id="the-least-of-all"),
    ],
)
def test_a_number_that_means_a_missing_cell_does_so_in_every_source(tmp_path, values, missing):
    """What `missing` lists is missing where numbers are texts, and where they are numbers, whatever their type."""
    kind = Kind(repeated(*values))
    gap = [None if value == float(missing) else value for value in kind.cells]
    cells = ["" if cell is None else cell for cell in gap]
    (tmp_path / "gap.csv").write_text("c,label\n" + "".join(f"{c},{y}\n" for c, y in zip(cells, Y, strict=True)))
    expected = trained(tmp_path / "gap.csv", kind)
    pl.DataFrame({"c": kind.cells, "label": Y}).write_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text((tmp_path / "t.csv").read_text().replace("-999.0", "-999"))
    np.savez(tmp_path / "f4.npz", x=np.array(kind.cells, dtype=np.float32), y=np.array(Y), columns=np.array(["c"]))
    npz = write_npz(kind, tmp_path)

    for source in (tmp_path / "t.csv", write_parquet(kind, tmp_path), npz, tmp_path / "f4.npz", pandas_frame(kind)):
        found = trained(source, kind, missing=[missing, "1e200"])

        assert 'missing cells: "c" 6' in found.notices, source
        assert np.allclose(found.x, expected.x, rtol=1e-6), source
        assert np.array_equal(inputs(source, found), found.x), source


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if None not in kind.cells])
def test_labels_of_one_source_are_those_of_all_others(tmp_path, name):
    """A net that was trained to tell labels apart is scored on the same rows from every other source."""
    kind = KINDS[name]
    frames = {
        "pandas": pandas_frame(kind, "c").rename(columns={"label": "feature"}),
        "polars": polars_frame(kind, "c").rename({"label": "feature"}),
    }
    frames["pandas"].to_csv(tmp_path / "pandas.csv", index=False)
    frames["polars"].write_csv(tmp_path / "polars.csv")
    frames["polars"].write_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", x=np.array(Y), y=kind.npz(kind.cells), columns=np.array(["feature"]))
    files = {file.name: file for file in sorted(tmp_path.iterdir())}

    for of, source in {**frames, **files}.items():
        found = trained(source, kind, target="c", task="multiclass" if len(set(kind.cells)) > 2 else "auto")
        assert len(found.target.classes) == len(set(kind.cells)), of
        for to, other in {**frames, **files}.items():
            scored = score(other, found.resolved, found.encoder, found.target)
            assert scored.y.tolist() == found.y.tolist(), (of, to)


def as_objects(*values: Any) -> Any:
    return pd.Series(np.array([*repeated(*values), None], dtype=object)[:-1], dtype=object)


@pytest.mark.parametrize(
    ("column", "read"),
    [
        pytest.param(lambda: pd.Series(repeated(3, 1, None), dtype="Int64"), (1, 3), id="nullable-integers"),
        pytest.param(lambda: pd.Series(repeated(True, None), dtype="boolean"), ("True",), id="nullable-booleans"),
        pytest.param(lambda: pd.Series(repeated("u", "v", None), dtype="string"), ("u", "v"), id="nullable-texts"),
        pytest.param(
            lambda: pd.Series(repeated(3, 1, None), dtype="category"), ("1", "3"), id="categories-with-a-hole"
        ),
        pytest.param(lambda: pd.Series(repeated(True, False), dtype="category"), ("False", "True"), id="of-booleans"),
        pytest.param(lambda: pd.cut(pd.Series(range(N)), [-1, 11, 23]), ("(-1, 11]", "(11, 23]"), id="intervals"),
        pytest.param(lambda: pd.Series(pd.arrays.SparseArray(repeated(0, 1))), (0, 1), id="sparse"),
        pytest.param(lambda: pd.to_datetime(pd.Series(repeated("2020-01-01", None))), ("2020-01-01",), id="NaT"),
        pytest.param(lambda: as_objects(np.int64(3), np.float32(1.5)), (1.5, 3), id="numpy-numbers"),
        pytest.param(lambda: as_objects(np.True_, np.False_), ("False", "True"), id="numpy-booleans"),
        pytest.param(
            lambda: as_objects(np.datetime64("2020-01-01"), np.datetime64("NaT")), ("2020-01-01",), id="numpy-times"
        ),
        pytest.param(lambda: as_objects(Fraction(1, 2), 1), (0.5, 1), id="fractions"),
        pytest.param(lambda: as_objects(Decimal("NaN"), Decimal(2), 1), (1, 2), id="decimals-with-a-hole"),
        pytest.param(lambda: as_objects(1, "a", 2.0, True), ("1", "2", "True", "a"), id="mixed"),
        pytest.param(lambda: as_objects(2**70, 1), "beyond 2\\*\\*53", id="large"),
        pytest.param(lambda: as_objects(10**400, 1), "a value of more than 40 digits", id="huge"),
        pytest.param(lambda: as_objects(10**5000, "a"), "outside float64", id="huge-beside-text"),
        pytest.param(lambda: as_objects(float("inf"), 1), "row index 0: .*infinite", id="infinite"),
        pytest.param(lambda: as_objects(object(), "a"), "such as object", id="no-text"),
        pytest.param(lambda: as_objects(1j, 1), "type complex, .* or give .real", id="complex"),
        pytest.param(lambda: pd.to_timedelta(pd.Series(range(N)), unit="h"), "timedelta64", id="durations"),
    ],
)
def test_a_column_of_a_frame_is_what_its_values_are(column, read):
    """Whatever pandas keeps them in: the range of numbers, or the levels of categories, or an error of ours."""
    frame = pd.DataFrame({"c": column(), "label": Y})

    if isinstance(read, str):
        with pytest.raises(DataError, match=f'column "c".*{read}|{read}.*'):
            trained(frame, Kind([]))
        assert trained(frame.assign(z=np.sin(range(N))), Kind([]), exclude=["c"]).encoder.columns == ("z",)
    else:
        feature = trained(frame, Kind([])).encoder.features[0]
        assert (feature.levels or (feature.low, feature.high)) == read


def test_objects_beyond_float64_are_categories_where_they_are_asked_for():
    """Whole numbers that float64 does not hold keep all their digits as categories."""
    found = trained(pd.DataFrame({"c": as_objects(2**70, 2**70 + 1), "label": Y}), Kind([], categorical=True))

    assert found.encoder.features[0].levels == (str(2**70), str(2**70 + 1))
