"""The network: activations, losses, initial weights, layers, and the flat vectors that hold their parameters."""
