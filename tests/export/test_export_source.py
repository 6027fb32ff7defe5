"""Parts of fcnet's own source for scripts that run without it."""

from __future__ import annotations

from fcnet.export.source import taken


def test_what_is_taken_has_all_that_it_uses_and_no_more() -> None:
    """The definitions run by themselves, and a class has no method that nobody calls."""
    imports, text = taken([("fcnet.data.spelling", "Lookup")], ["find"])
    names: dict[str, object] = {}

    exec("\n".join(["from __future__ import annotations", *imports, text]), names)
    assert names["Lookup"](["1", "True", "c"]).find("1.0") == 0
    assert "def number(" in text
    assert "def parse(" not in text
    assert "fcnet" not in "\n".join(imports)


def test_equal_definitions_are_taken_once() -> None:
    """`Array`, which several modules define alike, stands there once."""
    _, text = taken([("fcnet.data.encodings.quantile", "share"), ("fcnet.data.statistics", "moments")])

    assert text.count("Array = NDArray[Any]\n") == 1
