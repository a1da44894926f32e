"""PyTorch's modules, checkpoints and state_dicts: read and written."""
