"""Versions that come, go and fail, with a loader that tells."""

import pathlib
import shutil
import threading

import pytest

from tfllm.server import model_config
from tfllm.server.model_versions import ModelVersions, Target
from tfllm.server.protos import ModelServerConfig
from tfllm.server.statuses import ServingError


class FakeServable:
    """Knows its number, and whether it was closed."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number, self.closed = name, number, False

    def close(self) -> None:
        self.closed = True


class Loader:
    """Loads what does not hold a file `bad`."""

    def __init__(self) -> None:
        self.loaded: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, name: str, number: int, folder: str) -> FakeServable:
        assert self.gate.wait(30)
        self.loaded.append(number)
        if (pathlib.Path(folder) / "saved_model.pb").read_text() == "bad":
            raise ServingError("DATA_LOSS", "damaged")
        return FakeServable(name, number)


def put(base: pathlib.Path, name: str | int, content: str = "good") -> None:
    folder = base / str(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_text(content)


@pytest.fixture
def base(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


@pytest.fixture
def loader() -> Loader:
    return Loader()


def config(base: pathlib.Path, text: str = "") -> ModelServerConfig:
    found = model_config.single("m", str(base))
    if text:
        path = base.parent / "models.config"
        path.write_text(
            "model_config_list { config { "
            f'name: "m" base_path: "{base}" {text} }} }}'
        )
        found = model_config.read(str(path))
    return found


def answering(versions: ModelVersions, **target: object) -> int:
    with versions.use(Target("m", **target)) as servable:
        return servable.number


def states(versions: ModelVersions) -> dict[int, str]:
    return {number: state for number, state, _ in versions.states(Target("m"))}


def test_the_newest_answers(base, loader) -> None:
    for name in (1, 3, "020", ".tmp-4", "4.bak", "-5", "word"):
        put(base, name)
    (base / "21").touch()
    versions = ModelVersions(config(base), loader)
    with pytest.raises(ServingError, match=r"Latest\(m\)"):
        answering(versions)
    versions.poll()
    assert answering(versions) == 20
    assert loader.loaded == [20]


def test_a_new_version_replaces_the_old_one(base, loader) -> None:
    put(base, 1)
    versions = ModelVersions(config(base), loader)
    versions.poll()
    put(base, 2)
    loader.gate.clear()
    thread = threading.Thread(target=versions.poll)
    thread.start()
    while states(versions).get(2) != "LOADING":
        pass
    assert answering(versions) == 1
    loader.gate.set()
    thread.join()
    assert answering(versions) == 2
    assert states(versions) == {2: "AVAILABLE", 1: "END"}


def test_a_version_in_use_stays(base, loader) -> None:
    put(base, 1)
    versions = ModelVersions(config(base), loader)
    versions.poll()
    with versions.use(Target("m")) as old:
        put(base, 2)
        versions.poll()
        assert states(versions) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert answering(versions) == 2
        assert isinstance(old, FakeServable)
        assert not old.closed
    versions.poll()
    assert old.closed
    assert states(versions)[1] == "END"


def test_a_damaged_version_is_refused_until_it_changes(base, loader) -> None:
    put(base, 1)
    versions = ModelVersions(config(base), loader)
    versions.poll()
    put(base, 2, "bad")
    for _ in range(3):
        versions.poll()
    assert loader.loaded == [1, 2]
    assert answering(versions) == 1
    (newest, _) = versions.states(Target("m"))
    assert newest[:2] == (2, "END")
    assert (newest[2].code, newest[2].message) == ("DATA_LOSS", "damaged")
    put(base, 2, "mended")
    versions.poll()
    assert answering(versions) == 2
    assert states(versions) == {2: "AVAILABLE", 1: "END"}


def test_a_damaged_version_is_tried_again_if_asked(base, loader) -> None:
    put(base, 1, "bad")
    versions = ModelVersions(config(base), loader, 2, 0.0)
    for _ in range(5):
        versions.poll()
    assert loader.loaded == [1, 1, 1]


def test_after_a_restart_an_older_version_stands_in(base, loader) -> None:
    put(base, 1)
    put(base, 2)
    put(base, 3, "bad")
    versions = ModelVersions(config(base), loader)
    versions.poll()
    versions.poll()
    assert answering(versions) == 2
    assert loader.loaded == [3, 2]
    put(base, 3, "mended")
    versions.poll()
    assert answering(versions) == 3
    assert states(versions)[2] == "END"


def test_a_removed_version_gives_way_to_the_one_before(base, loader) -> None:
    put(base, 1)
    put(base, 2)
    versions = ModelVersions(config(base), loader)
    versions.poll()
    shutil.rmtree(base / "2")
    versions.poll()
    assert answering(versions) == 1


def test_a_folder_that_is_away_unloads_nothing(base, loader) -> None:
    put(base, 1)
    versions = ModelVersions(config(base), loader)
    versions.poll()
    base.rename(base.parent / "elsewhere")
    versions.poll()
    assert answering(versions) == 1


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest { num_versions: 2 }", [2, 3]),
        ("all {}", [1, 2, 3]),
        ("specific { versions: 1 versions: 3 versions: 9 }", [1, 3]),
        ("", [3]),
    ],
)
def test_policies(base, loader, policy: str, expected: list[int]) -> None:
    for number in (1, 2, 3):
        put(base, number)
    text = f"model_version_policy {{ {policy} }}" if policy else " "
    versions = ModelVersions(config(base, text), loader)
    versions.poll()
    assert sorted(states(versions)) == expected
    assert answering(versions, number=expected[0]) == expected[0]
    with pytest.raises(ServingError, match=r"Specific\(m, 9\)"):
        answering(versions, number=9)


LABELS = 'version_labels { key: "a" value: %d }'


def test_labels(base, loader) -> None:
    put(base, 1)
    put(base, 2)
    both = "model_version_policy { all {} } "
    versions = ModelVersions(config(base, both + LABELS % 1), loader)
    versions.poll()
    assert answering(versions, label="a") == 1
    assert [s[0] for s in versions.states(Target("m", label="a"))] == [1]
    versions.reload(config(base, both + LABELS % 2))
    assert answering(versions, label="a") == 2
    with pytest.raises(ServingError, match="version 7 of model m, which is no"):
        versions.reload(config(base, both + LABELS % 7))
    with pytest.raises(ServingError, match="Unrecognized .* label: a"):
        answering(versions, label="a")
    versions.reload(config(base, both + LABELS % 7), True)
    with pytest.raises(ServingError, match=r"Specific\(m, 7\)"):
        answering(versions, label="a")


def test_reload_replaces_the_models(base, loader) -> None:
    put(base, 1)
    versions = ModelVersions(config(base), loader)
    versions.poll()
    with versions.use(Target("m")) as old:
        assert isinstance(old, FakeServable)
    versions.reload(model_config.single("n", str(base)))
    assert old.closed
    assert versions.names == ["n"]
    with pytest.raises(ServingError, match=r"Latest\(m\)"):
        answering(versions)
    with pytest.raises(ServingError, match="any versions of model m"):
        versions.states(Target("m"))
    put(base, 1, "bad")
    with pytest.raises(ServingError, match="o did not become available"):
        versions.reload(model_config.single("o", str(base)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model_config_list { config { name: 1 } }", "text ModelServerConfig"),
        ('model_config_list { config { base_path: "/" } }', "have a name"),
        ('model_config_list { config { name: "a" } }', "absolute path"),
        (
            "model_config_list {"
            + 2 * ' config { name: "a" base_path: "/" }'
            + "}",
            "Duplicate model name: a",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/" '
            'model_platform: "torch" } }',
            "'torch'",
        ),
        ("custom_model_config {}", "custom_model_config"),
    ],
)
def test_configs_that_cannot_be_served(tmp_path, text, words) -> None:
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        model_config.read(str(path))
