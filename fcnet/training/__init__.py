"""The run: its whole mutable state, a step as a straight line of calls, and the loop that yields between chunks."""
