"""Keras's files, in their three forms: read."""
