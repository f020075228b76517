"""The tf.Examples of Classify and Regress requests."""

from tfllm.serving.server.protos import Input
from tfllm.serving.server.statuses import invalid_argument


def serialized_examples(content: Input) -> list[bytes]:
    """Returns the serialized examples of a request, the context in each.

    Args:
        content: Of a ClassificationRequest or RegressionRequest.

    Raises:
        ServingError: There is none.
    """
    kind = content.WhichOneof("kind")
    context = b""
    if kind == "example_list":
        examples = content.example_list.examples
    elif kind == "example_list_with_context":
        examples = content.example_list_with_context.examples
        # Messages that follow each other are merged, as the server does.
        context = content.example_list_with_context.context.SerializeToString()
    else:
        examples = ()
    if not examples:
        raise invalid_argument("Input is empty.")
    return [context + example.SerializeToString() for example in examples]
