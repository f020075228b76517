"""What stands in deploy/: schemas, flags, paths and metrics that exist."""

import json
import pathlib
import re
import shlex
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from google.protobuf import text_format

from tfllm.server import batching_config, protos
from tfllm.server.metrics import PATH, Metrics
from tfllm.server.model_versions import AVAILABLE

ROOT = pathlib.Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
NAME = "bert"

# Reference: tensorflow/serving 2.20, model_servers/main.cc.
SERVER_FLAGS = {
    "allow_version_labels_for_unavailable_models",
    "batching_parameters_file",
    "enable_batching",
    "enable_grpc_healthcheck_service",
    "enable_model_warmup",
    "enable_per_model_batching_parameters",
    "file_system_poll_wait_seconds",
    "grpc_channel_arguments",
    "max_num_load_retries",
    "model_base_path",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "model_name",
    "monitoring_config_file",
    "num_load_threads",
    "num_request_iterations_for_warmup",
    "per_process_gpu_memory_fraction",
    "port",
    "rest_api_num_threads",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "saved_model_tags",
    "ssl_config_file",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_session_parallelism",
}
# Those of them that this server has no use for.
NOT_OURS = {"monitoring_config_file"}
# Reference: the Compose Specification, 05-services.md.
SERVICE_KEYS = {
    "command",
    "deploy",
    "environment",
    "healthcheck",
    "image",
    "networks",
    "ports",
    "profiles",
    "restart",
    "stop_grace_period",
    "volumes",
}


def documents(path: pathlib.Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def manifest(kind: str) -> dict[str, Any]:
    (found,) = (
        document
        for path in MANIFESTS
        for document in documents(path)
        if document["kind"] == kind and "headless" not in str(document)
    )
    return found


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    # As Compose fills it in.
    text = re.sub(r"(?<!\$)\$\{MODEL_NAME[^}]*\}", NAME, text)
    return yaml.safe_load(re.sub(r"(?<!\$)\$\{MODELS[^}]*\}", "/exports", text))


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    return found


def arguments(compose: dict[str, Any], container: dict[str, Any]) -> list[str]:
    services = compose["services"]
    return [
        *services["serving"]["command"],
        *services["serving-gpu"]["command"],
        *container["args"],
    ]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_fit_their_schemas(path: pathlib.Path) -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="needs kubernetes-validate (extra `dev`)"
    )
    for document in documents(path):
        if document["kind"] != "Kustomization":
            validator.validate(document, validator.latest_version(), True)


def test_all_manifests_are_applied() -> None:
    resources = set(manifest("Kustomization")["resources"])
    names = {path.name for path in MANIFESTS}
    assert resources == names - {"kustomization.yaml"}


def test_manifests_name_each_other(container: dict[str, Any]) -> None:
    deployment = manifest("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    service = manifest("Service")["spec"]
    assert service["selector"] == labels
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= ports
    budget = manifest("PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"] == labels
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == deployment["metadata"]["name"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert mounts == {volume["name"] for volume in volumes}


def test_the_autoscaler_asks_for_a_metric_that_is_made() -> None:
    spec = manifest("HorizontalPodAutoscaler")["spec"]
    (wanted,) = (
        metric["pods"]["metric"]["name"]
        for metric in spec["metrics"]
        if metric["type"] == "Pods"
    )
    path = DEPLOY / "monitoring/prometheus-adapter-values.yaml"
    (values,) = documents(path)
    (rule,) = values["rules"]["custom"]
    assert rule["name"]["as"] == wanted
    assert series(rule["seriesQuery"]) == series(rule["metricsQuery"])
    assert series(rule["seriesQuery"]) <= known_series()


def test_probes_and_scrapes_ask_what_the_server_answers(
    container: dict[str, Any],
) -> None:
    for probe in ("readinessProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert re.fullmatch(rf"/v1/models/{NAME}(/metadata)?", path)
    metadata = manifest("Deployment")["spec"]["template"]["metadata"]
    assert metadata["annotations"]["prometheus.io/path"] == PATH
    assert metadata["annotations"]["prometheus.io/port"] == "8501"
    (scrapes,) = documents(DEPLOY / "monitoring/prometheus.yaml")
    (job,) = scrapes["scrape_configs"]
    assert job["metrics_path"] == PATH


def test_compose_holds_what_the_specification_knows(
    compose: dict[str, Any],
) -> None:
    assert {key for key in compose if not key.startswith("x-")} == {
        "name",
        "services",
    }
    for service in compose["services"].values():
        assert set(service) <= SERVICE_KEYS
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"])
        for port in service["ports"]:
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)
        for volume in service["volumes"]:
            if isinstance(volume, str):
                source, target, mode = volume.split(":")
                assert (DEPLOY / source).exists(), source
                assert target.startswith("/")
                assert mode == "ro"
    images = {n: s["image"] for n, s in compose["services"].items()}
    assert images["serving"] == "tensorflow/serving:2.20.0"
    assert images["serving-gpu"] == "tensorflow/serving:2.20.0-gpu"
    health = compose["services"]["serving"]["healthcheck"]["test"]
    assert shlex.split(health[3])
    assert AVAILABLE in health[3]


def test_flags_exist(
    tmp_path: pathlib.Path,
    run_command: Callable,
    compose: dict[str, Any],
    container: dict[str, Any],
) -> None:
    # In a process of its own: flags are of the whole process.
    done = run_command(
        [sys.executable, "-m", "tfllm.serve", "--help"], tmp_path
    )
    ours = set(re.findall(r"^  --(?:\[no\])?(\w+)", done.stdout, re.M))
    found = arguments(compose, container)
    assert len(found) == 15
    for argument in found:
        name, value = re.fullmatch(r"--(\w+)=(.+)", argument).groups()
        assert name in SERVER_FLAGS
        assert value in ("true", "false") or value.startswith("/models/")
        # What works there works here.
        assert name in NOT_OURS or name in ours, name


def test_paths_are_those_that_the_exporter_writes(
    tmp_path: pathlib.Path, compose: dict[str, Any], container: dict[str, Any]
) -> None:
    artefacts = pytest.importorskip("tfllm.serving.artefacts")
    base = tmp_path / NAME
    base.mkdir()
    artefacts.write_configs(base, NAME)
    # The folder of the model is mounted as /models/<name>.
    for argument in arguments(compose, container):
        if "_file=" in argument:
            path = argument.partition("=")[2]
            folder, _, name = path.rpartition("/")
            assert folder == f"/models/{NAME}"
            assert (base / name).is_file(), name
    text = (base / artefacts.MODELS).read_text()
    config = text_format.Parse(text, protos.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (NAME, f"/models/{NAME}")
    assert artefacts.BATCHING == batching_config.FILE
    assert PATH in (base / artefacts.MONITORING).read_text()


def known_series() -> set[str]:
    """Names of all series that the server's page can hold."""
    found = set()
    for line in Metrics().page().decode().splitlines():
        _, _, name, kind = line.split()
        parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + part for part in parts}
    return found


def series(query: str) -> set[str]:
    return set(re.findall(r'__name__="([^"]+)"', query))


def test_the_dashboard_shows_series_that_exist() -> None:
    path = DEPLOY / "monitoring/dashboard.json"
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    queries = [
        target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    (variable,) = dashboard["templating"]["list"]
    queries.append(variable["query"]["query"])
    assert len(queries) > 8
    for query in queries:
        assert series(query)
        assert series(query) <= known_series(), query
        assert query.count("(") == query.count(")")
        assert query.count("{") == query.count("}")
    labels = {
        label
        for metric in Metrics().metrics.values()
        for label in metric._labelnames
    }
    for query in queries:
        for names in re.findall(r"by \(([^)]*)\)", query):
            for label in names.split(","):
                assert label.strip() in {*labels, "le", "instance"}, query
    (source,) = documents(
        DEPLOY / "monitoring/grafana-provisioning/datasources/prometheus.yaml"
    )
    uids = {panel["datasource"]["uid"] for panel in dashboard["panels"]}
    assert uids == {source["datasources"][0]["uid"]}
    places = [
        (g["x"], g["y"]) for g in (p["gridPos"] for p in dashboard["panels"])
    ]
    assert len(set(places)) == len(places)


def test_the_dockerfile_copies_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    sources = [
        source
        for line in re.findall(r"^COPY (.+)$", text, re.M)
        for source in line.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", text, re.M)
    for extra in extras.split(","):
        assert f'"{extra}": ' in setup
    assert json.loads(re.findall(r"^ENTRYPOINT (.+)$", text, re.M)[0]) == [
        "python",
        "-m",
    ]


def test_the_readme_names_what_there_is() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `([^`]+)`", text, re.M)
    assert len(names) == 4
    for name in [*names, "monitoring/prometheus-adapter-values.yaml"]:
        assert (DEPLOY / name).exists(), name
