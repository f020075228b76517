"""TensorFlow Serving's REST and gRPC contract, for development.

A subset of it, for machines without Docker and for tests; production is
TensorFlow Serving itself. `lifecycle.Server` puts the parts together:

    http_server -> rest -> rest_json -> inference -> batching -> c_loader
    grpc_service -> tensor_protos ----^
    model_versions: polls folders, loads, warms up, swaps, unloads
"""
