"""How θ follows from ∇L: optimizers as formulas, schedules for their rates, and the walk over the segments of θ."""
