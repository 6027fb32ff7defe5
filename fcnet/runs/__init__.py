"""Runs on disk: checkpoints, the metrics log, and the folders that hold them."""
