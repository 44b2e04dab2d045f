"""torchvision: how its files name tensors, and its own model of them."""
