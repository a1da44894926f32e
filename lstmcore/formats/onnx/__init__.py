"""ONNX files and graphs: read and written."""
