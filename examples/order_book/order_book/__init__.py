"""The study of the spoof-and-pump story: an order book of its own, the models, and a real recording."""
