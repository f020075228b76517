"""A development server with TensorFlow Serving's REST and gRPC API.

It serves a subset of the API, for machines without Docker and for tests; use
TensorFlow Serving in production. `lifecycle.Server` connects the parts:

    http_server -> rest -> rest_requests -> inference -> batching -> c_loader
    grpc_service -> tensor_protos --------^
    model_versions: polls folders, loads, warms up, swaps, unloads
"""
