"""Train fully-connected neural networks on tables, from the command line or from Python."""

from __future__ import annotations

TYPE_CHECKING = False  # a command installs its signal handlers before it imports even typing
if TYPE_CHECKING:
    from typing import Any

    from fcnet.api import Model, Run, load, train
    from fcnet.errors import FcnetError, FcnetWarning

__version__ = "0.2.0"
__all__ = ["FcnetError", "FcnetWarning", "Model", "Run", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """Load the library when one of its names is first used, so that `fcnet --help` does not pay for it."""
    if name in __all__:
        from fcnet import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names that are offered before the library is loaded, too."""
    return sorted({*globals(), *__all__})
