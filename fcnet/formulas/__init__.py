"""The expression language: elementwise mathematics written once, as small trees that every backend can print."""

from fcnet.formulas import expression
from fcnet.formulas.expression import *  # noqa: F403  what it names in its own __all__

__all__ = expression.__all__
