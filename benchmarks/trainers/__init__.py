"""One file for each library: `trainer(case)` gives a function that trains one epoch and returns its mean loss."""
