"""The Numba backend: formulas printed as fused loops, products by BLAS, whole chunks of steps without Python."""
