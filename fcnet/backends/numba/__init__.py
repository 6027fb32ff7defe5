"""The Numba backend: formulas as fused loops, products in blocks of registers, chunks of steps without Python."""
