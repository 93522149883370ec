"""The fixture `example` of the models in onnx_zoo.py."""

from tests.models.onnx_zoo import example as example
