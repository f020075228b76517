"""The tf.Examples of Classify and Regress requests."""

from tfllm.server.protos import Input
from tfllm.server.statuses import invalid_argument


def serialized_examples(content: Input) -> list[bytes]:
    """Returns the serialized examples of a request, each with the context.

    Args:
        content: Input of a ClassificationRequest or RegressionRequest.

    Raises:
        ServingError: The request has no examples.
    """
    kind = content.WhichOneof("kind")
    context = b""
    if kind == "example_list":
        examples = content.example_list.examples
    elif kind == "example_list_with_context":
        examples = content.example_list_with_context.examples
        # Concatenated messages merge; TensorFlow Serving does the same.
        context = content.example_list_with_context.context.SerializeToString()
    else:
        examples = ()
    if not examples:
        raise invalid_argument("Input is empty.")
    return [context + example.SerializeToString() for example in examples]
