"""Where the arithmetic happens: a step's kernel calls, bound to arrays by NumPy or whatever else is fast."""
