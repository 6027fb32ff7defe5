"""What people read: summaries, tables of scores, what is in a checkpoint, a first config."""
