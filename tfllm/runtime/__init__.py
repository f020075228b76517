"""The C++ runtime of TensorFlow Serving, without the Python package."""
