"""exp, log, tanh, cos and their kin in float32, as arithmetic that a compiler can vectorise; the C library's are not.

tests/backends/test_numba.py compares them with float64 over their whole range: at most 3 units in the last place. They
keep NaN and infinities. The polynomials are Taylor's; the splitting of ln 2, and rounding by adding 1.5 · 2²³, are
textbook (Muller, Elementary Functions, 2016). With them are a quotient and a maximum for loops that know their numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic

from fcnet.backends.numba.pointers import f4_to_i4, f8_to_i8, i4_to_f4

# No fastmath: reassociation would undo the splitting of ln 2. contract lets a·b + c be one instruction.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}

_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(0.693359375 - math.log(2.0))
_ROUND = np.float32(12582912.0)
_MOST = np.float32(88.72283)
_LEAST = np.float32(-87.33654)
_FLOOR = np.float32(-20.0)
_INF, _NAN = np.float32(np.inf), np.float32(np.nan)
_ONE, _TWO, _ZERO = np.float32(1.0), np.float32(2.0), np.float32(0.0)
_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1.0 / math.factorial(k)) for k in range(2, 8))


@njit(**OPTIONS)
def exp4(x: Any) -> Any:
    """eˣ = 2ⁿ eʳ, |r| ≤ ½ ln 2; what would be below the smallest normal number is 0."""
    t = x * _LOG2E + _ROUND
    n = t - _ROUND
    r = (x - n * _LN2_HIGH) + n * _LN2_LOW
    p = r * r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * _E7))))) + r + _ONE
    y = i4_to_f4(f4_to_i4(p) + (f4_to_i4(t) << np.int32(23)))
    y = y if x <= _MOST else _INF
    y = y if x >= _LEAST else _ZERO
    return y if x == x else x


@njit(**OPTIONS)
def expm1_4(x: Any) -> Any:
    """eˣ − 1 = 2ⁿ (eʳ − 1) + (2ⁿ − 1): for n = 0 nothing cancels."""
    v = x if x >= _FLOOR else _FLOOR
    t = v * _LOG2E + _ROUND
    n = t - _ROUND
    r = (v - n * _LN2_HIGH) + n * _LN2_LOW
    q = r * r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * _E7))))) + r
    half = i4_to_f4((f4_to_i4(t) << np.int32(23)) + np.int32(0x3F000000))  # 2ⁿ⁻¹, which does not overflow
    y = (q * half + (half - np.float32(0.5))) * _TWO
    y = y if x <= _MOST else _INF
    return y if x == x else x


_OVER = np.int32(0x7EF311C7)


@njit(**OPTIONS)
def over4(x: Any, y: Any) -> Any:
    """x / y to 1 unit in the last place, for y that are not 0 and whose 1 / y is a normal number; NaN stays NaN.

    A processor has one unit for divisions and square roots, and an optimizer needs both. 1 / y is guessed to 5 % by the
    bits of y (Blinn, Floating-point tricks, 1997), and the quotient by it refined with its remainder. Other than by the
    processor's own estimates, a number has the same quotient in a vector and alone.
    """
    r = i4_to_f4(_OVER - f4_to_i4(y))
    t = _ONE - y * r
    r = r * (t * t + t) + r  # an error of 5 % cubed
    q = x * r
    return (x - y * q) * r + q


_ROOT_HALF = np.int32(0x3F3504F3)  # the bits of √½
_MANTISSA = np.int32(0x007FFFFF)
_TINY = np.float32(1.1754944e-38)
_SHIFT, _SHIFTED = np.float32(8388608.0), np.float32(23 * math.log(2.0))
_S3, _S5, _S7, _S9, _S11 = (np.float32(2.0 / k) for k in (3, 5, 7, 9, 11))


@njit(**OPTIONS)
def _log(x: Any) -> Any:
    """ln x = n ln 2 + 2 artanh((m − 1) / (m + 1)), m ∈ [√½, √2), of a positive, normal, finite x."""
    bits = f4_to_i4(x) - _ROOT_HALF
    n = np.float32(bits >> np.int32(23))
    m = i4_to_f4((bits & _MANTISSA) + _ROOT_HALF)
    f = m - _ONE
    s = f / (m + _ONE)
    z = s * s
    # 2s = f − s f, so that f itself enters unrounded
    r = z * (_S3 + z * (_S5 + z * (_S7 + z * (_S9 + z * _S11))))
    return n * _LN2_HIGH - (s * (f - r) + n * _LN2_LOW - f)


@njit(**OPTIONS)
def log4(x: Any) -> Any:
    """ln x."""
    small = x < _TINY
    y = _log(x * _SHIFT if small else x) - (_SHIFTED if small else _ZERO)
    y = y if x < _INF else x
    y = y if x > _ZERO else (-_INF if x == _ZERO else _NAN)
    return y if x == x else x


@njit(**OPTIONS)
def log1p4(x: Any) -> Any:
    """ln(1 + x) = ln u + (x − (u − 1)) / u, u = 1 + x rounded."""
    u = _ONE + x
    y = _log(u) + (x - (u - _ONE)) / u
    y = y if x < _INF else x
    y = y if u > _ZERO else (-_INF if u == _ZERO else _NAN)
    return y if x == x else x


@njit(**OPTIONS)
def tanh4(x: Any) -> Any:
    """tanh |x| = e / (e + 2), e = exp(2|x|) − 1; from 10 on it is 1 in float32."""
    a = abs(x)
    a = a if a <= np.float32(10.0) else np.float32(10.0)
    e = expm1_4(a + a)
    y = e / (e + _TWO)
    y = y if x >= _ZERO else -y
    return y if x == x else x


_PI, _OVER_PI = math.pi, 1.0 / math.pi
_ROUND8 = 6755399441055744.0  # 1.5 · 2⁵²
_FAR = np.float32(1e15)
_T3, _T5, _T7, _T9, _T11, _T13 = (np.float32((-1) ** (k // 2) / math.factorial(k)) for k in range(3, 14, 2))


@njit(**OPTIONS)
def cos4(x: Any) -> Any:
    """cos x = (−1)ⁿ sin r, r = x − (n − ½) π, |r| ≤ π/2, in float64, or little would be left of r for large x.

    From 10¹⁵ on, where neighbouring numbers are thousands of turns apart, it is that of 10¹⁵.
    """
    near = x if abs(x) <= _FAR else _FAR
    t = (near * _OVER_PI + 0.5) + _ROUND8
    n = t - _ROUND8
    r = np.float32(near - (n - 0.5) * _PI)
    z = r * r
    y = r + r * z * (_T3 + z * (_T5 + z * (_T7 + z * (_T9 + z * (_T11 + z * _T13)))))
    y = i4_to_f4(f4_to_i4(y) ^ np.int32((f8_to_i8(t) & 1) << 31))
    return y if abs(x) < _INF else _NAN


@intrinsic
def most(typingctx: Any, x: Any, y: Any) -> Any:
    """The larger of two numbers; of NaN and a number it is either, so that a row's largest can be found by vectors."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flags = ["nnan", "nsz"]
        return builder.select(builder.fcmp_ordered(">", *args, flags=flags), *args, flags=flags)

    return x(x, x), code
