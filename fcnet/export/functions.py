"""What C programs call that have no library: functions of float32 to its last digit or two, by their names in formulas.

exp, log and cos bring their argument near 0 and add up a series; the others are made of them. Those that every unit of
a layer goes through have no branch, and choose by the bits of numbers: so compilers make several units at a time.
Beside them stand the encodings that are no formulas, and what finds a category.
"""

from __future__ import annotations

from collections.abc import Iterable

from fcnet.data.encodings.quantile import EDGE, MIDDLE, TAIL

_BITS = """\
typedef union {
    uint32_t u;
    float f;
} bits;
"""
_EXP = """\
static inline float exp_of(float x)
{
    bits y, turn, low, high;
    y.f = x;
    uint32_t size = y.u & 0x7fffffffu, nan = 0u - (uint32_t)(size > 0x7f800000u);
    y.u = (y.u & 0x80000000u) | (size < 0x42d00000u ? size : 0x42d00000u); /* from -104 to 104 */
    turn.f = y.f * 1.44269504f + 12582912.0f; /* whose last bits are k, a whole number */
    float k = turn.f - 12582912.0f, r = (y.f - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = r / 5040.0f + 1.0f / 720.0f;
    p = ((((p * r + 1.0f / 120.0f) * r + 1.0f / 24.0f) * r + 1.0f / 6.0f) * r + 0.5f) * r * r + r + 1.0f;
    turn.u += 254u - 0x4b400000u; /* 2^k in two factors, each of which float32 has */
    low.u = turn.u >> 1 << 23;
    high.u = (turn.u - (turn.u >> 1)) << 23;
    y.f = p * low.f * high.f;
    y.u |= nan & 0x7fc00000u;
    return y.f;
}
"""
_LOG = """\
static float log_of(float x)
{
    union { uint32_t u; float f; } m;
    int k = -127;
    if (x != x || x > 3.4028235e38f || x < 0.0f)
        return x < 0.0f ? 0.0f * (x * -3.4e38f * 3.4e38f) : x;
    if (x == 0.0f)
        return (x - 3.4e38f) * 3.4e38f;
    if (x < 1.17549435e-38f) {
        x *= 8388608.0f;
        k -= 23;
    }
    m.f = x;
    k += (int)(m.u >> 23);
    m.u = (m.u & 0x7fffffu) | 0x3f800000u;
    if (m.f > 1.41421356f) {
        m.f *= 0.5f;
        k++;
    }
    float s = (m.f - 1.0f) / (m.f + 1.0f), z = s * s;
    float p = (((z / 11.0f + 1.0f / 9.0f) * z + 1.0f / 7.0f) * z + 0.2f) * z + 1.0f / 3.0f;
    return (float)k * 0.693359375f + (2.0f * s + (2.0f * s * z * p - (float)k * 2.12194440e-4f));
}
"""
_COS = """\
static float cos_of(float x)
{
    x = x < 0.0f ? -x : x;
    if (x != x || x > 3.4028235e38f)
        return x - x;
    if (x > 4096.0f) {
        double turns = (double)x * 0.15915494309189535;
        if (turns > 9.0e15)
            return 1.0f;
        x = (float)((turns - (double)(int64_t)turns) * 6.283185307179586);
    }
    int q = (int)(x * 0.636619772f + 0.5f);
    float r = ((x - (float)q * 1.5703125f) - (float)q * 4.83751297e-4f) - (float)q * 7.54978995e-8f, z = r * r;
    float c = 1.0f - z * (0.5f - z * (1.0f / 24.0f - z * (1.0f / 720.0f - z / 40320.0f)));
    float s = r - r * z * (1.0f / 6.0f - z * (1.0f / 120.0f - z * (1.0f / 5040.0f - z / 362880.0f)));
    float y = q % 2 ? s : c;
    return q % 4 == 1 || q % 4 == 2 ? -y : y;
}
"""
_SQRT = """\
static float sqrt_of(float x)
{
    union { uint32_t u; float f; } y;
    if (!(x > 0.0f) || x > 3.4028235e38f)
        return x < 0.0f ? 0.0f * (x * -3.4e38f * 3.4e38f) : x;
    y.f = x;
    y.u = 0x1fbd1df5u + (y.u >> 1);
    for (int i = 0; i < 4; i++)
        y.f = 0.5f * (y.f + x / y.f);
    return y.f;
}
"""
_LOG1P = """\
static float log1p_of(float x)
{
    float s = x / (2.0f + x), z = s * s;
    if (x > 0.41f || x < -0.29f)
        return log_of(1.0f + x);
    return 2.0f * s + 2.0f * s * z * ((((z / 11.0f + 1.0f / 9.0f) * z + 1.0f / 7.0f) * z + 0.2f) * z + 1.0f / 3.0f);
}
"""
_EXPM1 = """\
static inline float expm1_of(float x)
{
    bits y, half;
    y.f = x;
    uint32_t size = y.u & 0x7fffffffu, nan = 0u - (uint32_t)(size > 0x7f800000u), sign = y.u & 0x80000000u;
    uint32_t most = 0x42b20000u - (sign >> 13); /* from -87 to 89 */
    y.u = sign | (size < most ? size : most);
    half.f = y.f * 1.44269504f + 12582912.0f;
    float k = half.f - 12582912.0f, r = (y.f - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = r / 5040.0f + 1.0f / 720.0f;
    p = ((((p * r + 1.0f / 120.0f) * r + 1.0f / 24.0f) * r + 1.0f / 6.0f) * r + 0.5f) * r * r + r;
    half.u = (half.u + 126u - 0x4b400000u) << 23; /* half of 2^k, which float32 has for every k */
    y.f = 2.0f * (p * half.f + (half.f - 0.5f));
    y.u |= nan & 0x7fc00000u;
    return y.f;
}
"""
_TANH = """\
static inline float tanh_of(float x)
{
    bits y;
    y.f = x;
    uint32_t sign = y.u & 0x80000000u;
    y.u |= 0x80000000u;
    float t = expm1_of(2.0f * y.f);
    y.f = -t / (t + 2.0f);
    y.u |= sign;
    return y.f;
}
"""
_CHOICE = """\
static inline float {name}_of(float x, float y)
{{
    bits a, b;
    a.f = x;
    b.f = y;
    uint32_t other = 0u - (uint32_t)(x {sign} y);
    a.u = (b.u & other) | (a.u & ~other);
    return a.f;
}}
"""
_QUANTILE = """\
static float share_of(float part, float whole)
{{
    return part > 0.0f && whole > 0.0f ? part < whole ? part / whole : 1.0f : 0.0f;
}}

/* the share of training below x, which the normal distribution's inverse spreads; q are n quantiles at equal shares,
   and rest what they lack as floats, which is much where two are all but one */
static float quantile_of(const float *q, const float *rest, int n, float x)
{{
    static const float middle[2][8] = {{
        {{{above}}},
        {{{below}}},
    }};
    static const float tail[2][8] = {{
        {{{far_above}}},
        {{{far_below}}},
    }};
    int low = 0, high = 0;
    while (high < n && q[high] <= x)
        high++;
    while (low < n && q[low] < x)
        low++;
    float below = 0.0f, beyond = (float)(n - 1); /* how many steps lie on either side */
    if (x >= q[n - 1] && x <= q[0]) {{
        return 0.0f;
    }} else if (x >= q[n - 1]) {{
        below = beyond;
        beyond = 0.0f;
    }} else if (x > q[0]) {{
        float up = x - q[high - 1] - rest[high - 1], down = q[low] - x + rest[low];
        up = share_of(up, q[high] - q[high - 1] + (rest[high] - rest[high - 1]));
        down = share_of(down, q[low] - q[low - 1] + (rest[low] - rest[low - 1]));
        below = 0.5f * ((float)(high - 1) + (float)low + up - down);
        beyond = 0.5f * ((float)(n - high) + (float)(n - 1 - low) - up + down);
    }}
    below /= (float)(n - 1);
    beyond /= (float)(n - 1);
    float least = below < beyond ? below : beyond, p = 0.0f, r = 0.0f;
    least = least < {edge}f ? {edge}f : least;
    float away = 0.5f - least;
    int near = away <= 0.425f;
    float z = near ? 0.180625f - away * away : sqrt_of(-log_of(least)) - 1.6f;
    for (int i = 7; i >= 0; i--) {{
        p = p * z + (near ? middle : tail)[0][i];
        r = r * z + (near ? middle : tail)[1][i];
    }}
    p = (near ? away : 1.0f) * p / r;
    return below < beyond ? -p : p;
}}
""".format(
    above=", ".join(f"{v!r}f" for v in MIDDLE[0]),
    below=", ".join(f"{v!r}f" for v in MIDDLE[1]),
    far_above=", ".join(f"{v!r}f" for v in TAIL[0]),
    far_below=", ".join(f"{v!r}f" for v in TAIL[1]),
    edge=repr(EDGE),
)
_LEVEL = """\
typedef struct {
    const char *text;
    int place;
} level;

/* the place of a text among n levels, which are in the order of their bytes; blanks around it do not count */
static int level_of(const level *levels, int n, const char *text, int missing)
{
    int size = 0, low = 0;
    while (text && (*text == ' ' || (*text >= '\\t' && *text <= '\\r')))
        text++;
    while (text && text[size])
        size++;
    while (size > 0 && (text[size - 1] == ' ' || (text[size - 1] >= '\\t' && text[size - 1] <= '\\r')))
        size--;
    if (size == 0)
        return missing;
    while (low < n) {
        int middle = low + (n - low) / 2, i = 0;
        const char *known = levels[middle].text;
        while (i < size && known[i] && known[i] == text[i])
            i++;
        if (i == size && !known[i])
            return levels[middle].place;
        if (i < size && (unsigned char)known[i] < (unsigned char)text[i])
            low = middle + 1;
        else
            n = middle;
    }
    return -1;
}
"""

FUNCTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "level": (_LEVEL, ()),
    "is_finite": ("static int is_finite_of(float x)\n{\n    return x - x == 0.0f;\n}\n", ()),
    "bits": (_BITS, ()),
    "abs": ("static float abs_of(float x)\n{\n    return x < 0.0f ? -x : x;\n}\n", ()),
    "min": (_CHOICE.format(name="min", sign=">="), ("bits",)),
    "max": (_CHOICE.format(name="max", sign="<="), ("bits",)),
    "exp": (_EXP, ("bits",)),
    "log": (_LOG, ()),
    "cos": (_COS, ()),
    "sqrt": (_SQRT, ()),
    "log1p": (_LOG1P, ("log",)),
    "expm1": (_EXPM1, ("bits",)),
    "tanh": (_TANH, ("expm1",)),
    "pow": ("static float pow_of(float x, float y)\n{\n    return exp_of(y * log_of(x));\n}\n", ("exp", "log")),
    "quantile": (_QUANTILE, ("log", "sqrt")),
}
"""The text of each, and what it calls."""


def needed(names: Iterable[str]) -> list[str]:
    """The texts of these functions, each behind those that it calls."""
    found: dict[str, str] = {}

    def add(name: str) -> None:
        text, calls = FUNCTIONS[name]
        for each in calls:
            add(each)
        found.setdefault(name, text)

    for name in sorted(names, key=list(FUNCTIONS).index):
        add(name)
    return [*found.values()]
