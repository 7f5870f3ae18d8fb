"""``lock`` and ``sync``: the very same files on another machine, or a clear word why not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.hub import Hub, running_hub
from demo.world import World
from resolver.errors import BadInput
from resolver.lockfile import LockedModel, LockFile, decode_lock, encode_lock, read_lock
from tests.graphs import metadata, node, workflow
from tests.test_cli import CHECKOUT, EXAMPLE, environment, lines, run

URL = "https://huggingface.co/o/r/resolve/main/x.safetensors"
SHA = "ab" * 32


@pytest.fixture(scope="module")
def world() -> World:
    made = World.for_workflow(EXAMPLE)
    repos = {name: replace(repo, license="apache-2.0") for name, repo in made.repos.items()}
    return replace(made, repos=repos)


@pytest.fixture(scope="module")
def hub(world: World) -> Iterator[Hub]:
    with running_hub(world) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    return tmp_path / "ComfyUI"


@pytest.fixture
def lock(tmp_path: Path, root: Path, hub: Hub) -> Path:
    """The example's lock file, made where nothing is there."""
    path = tmp_path / "models.lock.json"
    outcome = run("lock", str(EXAMPLE), "-o", str(path), "--comfyui-root", str(root), hub=hub)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return path


def one_model(tmp_path: Path, **extra: Any) -> Path:
    """A workflow that wants ``vae/x.safetensors`` of ``URL``."""
    file = tmp_path / "one.json"
    properties = metadata("x.safetensors", "vae", URL, **extra)
    file.write_text(json.dumps(workflow(node(1, "VAELoader", ["x.safetensors"], properties=properties))))
    return file


def written(path: Path, *models: LockedModel) -> str:
    path.write_bytes(encode_lock(LockFile(workflows=[], models=list(models))))
    return str(path)


def entry(**changes: Any) -> LockedModel:
    known: dict[str, Any] = {
        "folder": "vae",
        "name": "x.safetensors",
        "size": 100_000,
        "sha256": SHA,
        "urls": [URL],
        "licence": None,
    }
    return LockedModel(**{**known, **changes})


def locked(world: World, **changes: Any) -> LockedModel:
    file = world.file_at(URL)
    assert file is not None
    return entry(**{"size": file.size, "sha256": file.sha256, **changes})


def files(root: Path) -> list[str]:
    models = root / "models"
    return sorted(path.relative_to(models).as_posix() for path in models.rglob("*.safetensors"))


# --- the file -----------------------------------------------------------------------------------


def test_one_content_has_one_spelling() -> None:
    a, b = entry(name="a.safetensors"), entry(name="b.safetensors", sha256=SHA.upper())
    first = encode_lock(LockFile(workflows=["z", "a", "z"], models=[b, a]))
    assert first == encode_lock(LockFile(workflows=["a", "z"], models=[a, b]))
    assert first.endswith(b"}\n")
    assert decode_lock(first, "it") == LockFile(workflows=["a", "z"], models=[a, b])


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda lock: "nope", "LOCK_INVALID", "not JSON"),
        (lambda lock: [], "LOCK_INVALID", "no version"),
        (lambda lock: {**lock, "version": 2}, "LOCK_VERSION", "version 2"),
        (lambda lock: {**lock, "more": 1}, "LOCK_INVALID", "more"),
        (lambda lock: {**lock, "models": lock["models"] * 2}, "LOCK_INVALID", "twice"),
        (lambda lock: with_model(lock, name="../x.safetensors"), "LOCK_INVALID", "'..'"),
        (lambda lock: with_model(lock, folder="custom_nodes"), "LOCK_INVALID", "not a model folder"),
        (lambda lock: with_model(lock, folder="../vae"), "LOCK_INVALID", "models.0.folder"),
        (lambda lock: with_model(lock, sha256="12"), "LOCK_INVALID", "models.0.sha256"),
        (lambda lock: with_model(lock, size=-1), "LOCK_INVALID", "models.0.size"),
        (lambda lock: with_model(lock, urls=[f"{URL}?token=hf_x"]), "LOCK_INVALID", "has a token"),
        (lambda lock: with_model(lock, urls=["https://me:pw@huggingface.co/x"]), "LOCK_INVALID", "login"),
    ],
)
def test_what_is_wrong_with_a_lock_file_is_said(change: Any, code: str, said: str) -> None:
    good = json.loads(encode_lock(LockFile(workflows=[], models=[entry()])))
    bad = change(good)
    with pytest.raises(BadInput) as caught:
        decode_lock(bad.encode() if isinstance(bad, str) else json.dumps(bad).encode(), "it")
    assert (caught.value.code, said in caught.value.message) == (code, True), caught.value.message


def with_model(lock: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**lock, "models": [{**lock["models"][0], **changes}]}


# --- lock ---------------------------------------------------------------------------------------


def test_a_lock_pins_commits_and_states_hash_size_and_licence(lock: Path, world: World) -> None:
    content = read_lock(lock)
    assert content.workflows == [EXAMPLE.name]
    assert len(content.models) == 4
    for model in content.models:
        (url,) = model.urls
        repo = next(repo for repo in world.repos.values() if f"/{repo.id}/" in url)
        file = world.file_at(url)
        assert file is not None
        assert f"/resolve/{repo.commit}/" in url
        assert (model.size, model.sha256, model.licence) == (file.size, file.sha256, "apache-2.0")


def test_a_lock_of_the_same_models_is_the_same_file_once_they_are_here(
    lock: Path, root: Path, hub: Hub
) -> None:
    before, stamp = lock.read_bytes(), lock.stat().st_ino
    assert run("sync", str(lock), "--comfyui-root", str(root), hub=hub).returncode == 0
    outcome = run("lock", str(EXAMPLE), "-o", str(lock), "--comfyui-root", str(root), "--json", hub=hub)
    assert (outcome.returncode, lines(outcome)[0]["changed"]) == (0, False)
    assert (lock.read_bytes(), lock.stat().st_ino) == (before, stamp)


def test_what_nobody_states_the_hash_of_is_read_here(tmp_path: Path, root: Path) -> None:
    file = one_model(tmp_path)
    path = tmp_path / "l.json"
    arguments = ("lock", str(file), "-o", str(path), "--offline", "--comfyui-root", str(root), "--json")
    missing = run(*arguments)
    (told,) = lines(missing)
    assert (missing.returncode, told["lock"], path.exists()) == (1, None, False)
    assert [(one["id"], one["code"]) for one in told["unresolved"]] == [("vae/x.safetensors", "LOCK_NO_HASH")]
    partial = run(*arguments, "--partial")
    assert (partial.returncode, read_lock(path).models[0].sha256) == (1, None)
    (root / "models" / "vae").mkdir()
    (root / "models" / "vae" / "x.safetensors").write_bytes(b"content")
    assert run(*arguments).returncode == 0
    (model,) = read_lock(path).models
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert (model.sha256, model.size, model.urls) == (digest, 7, [URL])


def test_a_model_of_no_known_origin_is_not_locked(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "w.json"
    file.write_text(json.dumps(workflow(node(1, "VAELoader", ["unheard-of.safetensors"]))))
    outcome = run(
        "lock", str(file), "-o", str(tmp_path / "l"), "--offline", "--comfyui-root", str(root), "--json"
    )
    assert outcome.returncode == 1
    assert [one["code"] for one in lines(outcome)[0]["unresolved"]] == ["NOT_FOUND"]


def test_the_token_in_a_url_is_not_locked_with_it(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "w.json"
    properties = metadata("x.safetensors", "vae", f"{URL}?token=hf_secret")
    file.write_text(json.dumps(workflow(node(1, "VAELoader", ["x.safetensors"], properties=properties))))
    path = tmp_path / "l.json"
    outcome = run("lock", str(file), "-o", str(path), "--offline", "--partial", "--comfyui-root", str(root))
    assert outcome.returncode == 1
    assert read_lock(path).models[0].urls == [URL]
    assert "hf_secret" not in path.read_text() + outcome.stdout + outcome.stderr


def test_two_contents_of_one_name_are_a_conflict(tmp_path: Path, root: Path) -> None:
    names = []
    for index, sha256 in enumerate(("1" * 64, "2" * 64)):
        properties = metadata("x.safetensors", "vae", URL, hash=sha256, hash_type="SHA256")
        file = tmp_path / f"{index}.json"
        file.write_text(json.dumps(workflow(node(1, "VAELoader", ["x.safetensors"], properties=properties))))
        names.append(str(file))
    outcome = run(
        "lock", *names, "-o", str(tmp_path / "l"), "--offline", "--comfyui-root", str(root), "--json"
    )
    assert [one["code"] for one in lines(outcome)[0]["unresolved"]] == ["LOCK_CONFLICT"]
    assert outcome.returncode == 1


def test_only_a_lock_file_is_written_over(tmp_path: Path, root: Path, hub: Hub) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text('{"mine": 1}')
    outcome = run("lock", str(EXAMPLE), "-o", str(mine), "--comfyui-root", str(root), hub=hub)
    assert (outcome.returncode, "FILE_EXISTS" in outcome.stderr) == (1, True)
    assert mine.read_text() == '{"mine": 1}'


def test_an_unreadable_workflow_leaves_no_lock(tmp_path: Path, root: Path, hub: Hub) -> None:
    path = tmp_path / "l.json"
    outcome = run("lock", str(EXAMPLE), "nowhere.json", "-o", str(path), "--comfyui-root", str(root), hub=hub)
    assert (outcome.returncode, path.exists()) == (2, False)


def test_patterns_directories_and_standard_input_are_read(tmp_path: Path, root: Path) -> None:
    deep = tmp_path / "flows" / "deep"
    deep.mkdir(parents=True)
    for path, name in ((deep / "a.json", "a"), (deep.parent / "b.json", "b"), (deep.parent / "c.json", "c")):
        path.write_text(json.dumps(workflow(node(1, "VAELoader", [f"{name}.safetensors"]))))
    (deep.parent / "package.json").write_text('{"name": "no workflow"}')
    given = json.dumps(workflow(node(1, "VAELoader", ["stdin.safetensors"])))

    def read(*arguments: str, stdin: str = "") -> tuple[int, list[str]]:
        outcome = run("analyze", *arguments, "--json", "--comfyui-root", str(root), stdin=stdin)
        return outcome.returncode, [
            line["models"][0]["name"][:-12] for line in lines(outcome) if "models" in line
        ]

    flows = str(deep.parent)
    assert read(flows) == (1, ["b", "c"]), "other JSON of a directory is passed over"
    assert read(f"{flows}/**/[ab].json") == (1, ["b", "a"])
    assert read(f"{flows}/b.json", f"{flows}/*.json") == (2, ["b", "c"]), "what a pattern names is a workflow"
    assert read("-", flows, stdin=given) == (1, ["stdin", "b", "c"])
    assert read(f"{flows}/*.png") == (2, [])


# --- sync ---------------------------------------------------------------------------------------


def test_sync_fetches_what_is_missing_and_nothing_twice(lock: Path, root: Path, world: World) -> None:
    with running_hub(world) as own:
        dry = run("sync", str(lock), "--dry-run", "--comfyui-root", str(root), hub=own)
        assert (dry.returncode, files(root)) == (1, [])
        first = run("sync", str(lock), "--frozen", "--comfyui-root", str(root), hub=own)
        assert first.returncode == 0, first.stdout + first.stderr
        asked = len(own.log.entries("storage"))
        second = run("sync", str(lock), "--comfyui-root", str(root), hub=own)
        assert (second.returncode, len(own.log.entries("storage"))) == (0, asked)
    assert len(files(root)) == 4
    for model in read_lock(lock).models:
        held = world.file_at(model.urls[0])
        assert held is not None
        assert (root / "models" / model.folder / model.name).read_bytes() == held.content


def test_sync_leaves_another_content_as_it_is(lock: Path, root: Path, hub: Hub) -> None:
    model = read_lock(lock).models[0]
    mine = root / "models" / model.folder / model.name
    mine.parent.mkdir(exist_ok=True)
    assert model.size is not None
    mine.write_bytes(b"m" * model.size)
    frozen = run("sync", str(lock), "--frozen", "--comfyui-root", str(root), "--json", hub=hub)
    assert (frozen.returncode, len(files(root))) == (1, 1), (
        "a frozen sync begins nothing that cannot be whole"
    )
    outcome = run("sync", str(lock), "--comfyui-root", str(root), "--json", hub=hub)
    told = {line["id"]: line for line in lines(outcome) if "id" in line}
    assert (told[model.id]["state"], told[model.id]["error"]["code"]) == ("differs", "FILE_DIFFERS")
    assert (outcome.returncode, len(files(root))) == (1, 4)
    assert mine.read_bytes() == b"m" * model.size


def test_sync_lists_what_the_lock_does_not_name_and_keeps_it(lock: Path, root: Path, hub: Hub) -> None:
    other = root / "models" / "loras" / "other.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"x")
    outcome = run("sync", str(lock), "--prune", "--json", "--comfyui-root", str(root), hub=hub)
    named = [line["not_in_lock"]["name"] for line in lines(outcome) if "not_in_lock" in line]
    assert (outcome.returncode, named, other.read_bytes()) == (0, ["other.safetensors"], b"x")


def test_another_place_of_the_same_content_is_found_unless_frozen(tmp_path: Path, root: Path) -> None:
    world = World.for_urls(["https://huggingface.co/Comfy-Org/r/resolve/main/x.safetensors"], sizes=9000)
    repo = world.repos["Comfy-Org/r"]
    gone = "https://huggingface.co/o/gone/resolve/main/x.safetensors"
    held = repo.files[0]
    model = entry(size=held.size, sha256=held.sha256, urls=[gone])
    path = written(tmp_path / "l.json", model)
    with running_hub(world) as hub:
        frozen = run("sync", path, "--frozen", "--comfyui-root", str(root), hub=hub)
        assert (frozen.returncode, files(root)) == (1, [])
        outcome = run("sync", path, "--comfyui-root", str(root), hub=hub)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert (root / "models" / "vae" / "x.safetensors").read_bytes() == held.content


def test_mirrors_of_the_lock_are_used(tmp_path: Path, root: Path) -> None:
    world = World.for_urls([URL], sizes=9000)
    gone = "https://huggingface.co/o/gone/resolve/main/x.safetensors"
    path = written(tmp_path / "l.json", locked(world, urls=[gone, URL]))
    with running_hub(world) as hub:
        outcome = run("sync", path, "--frozen", "--comfyui-root", str(root), hub=hub)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_url_that_serves_something_else_is_not_taken(tmp_path: Path, root: Path) -> None:
    world = World.for_urls([URL], sizes=9000)
    path = written(tmp_path / "l.json", locked(world, sha256=SHA))
    with running_hub(world) as hub:
        outcome = run("sync", path, "--frozen", "--comfyui-root", str(root), hub=hub)
    assert (outcome.returncode, "HASH_MISMATCH" in outcome.stdout, files(root)) == (1, True, [])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sha256": None}, "LOCK_INCOMPLETE"),
        ({"urls": []}, "LOCK_INCOMPLETE"),
        ({"urls": ["https://evil.example/x.safetensors"]}, "URL_HOST_NOT_ALLOWED"),
        ({"folder": "nowhere"}, "FOLDER_UNKNOWN"),
    ],
)
def test_what_cannot_be_fetched_is_said_and_the_rest_is_fetched(
    changes: dict[str, Any], code: str, tmp_path: Path, root: Path
) -> None:
    world = World.for_urls([URL], sizes=9000)
    good, bad = locked(world), locked(world, **{"name": "bad.safetensors", "sha256": "cd" * 32, **changes})
    path = written(tmp_path / "l.json", good, bad)
    with running_hub(world) as hub:
        frozen = run("sync", path, "--frozen", "--comfyui-root", str(root), "--json", hub=hub)
        assert (frozen.returncode, files(root)) == (1, [])
        outcome = run("sync", path, "--comfyui-root", str(root), "--json", hub=hub)
    told = {line["id"]: line["error"] for line in lines(outcome) if "id" in line}
    assert (outcome.returncode, told[bad.id]["code"]) == (1, code)
    assert files(root) == ["vae/x.safetensors"]


def test_a_lock_that_cannot_be_read_is_wrong_usage(tmp_path: Path, root: Path) -> None:
    (tmp_path / "bad").write_text("{}")
    for name, code in (("bad", "LOCK_INVALID"), ("absent", "FILE_UNREADABLE")):
        outcome = run("sync", str(tmp_path / name), "--comfyui-root", str(root))
        assert (outcome.returncode, code in outcome.stderr) == (2, True), outcome.stderr


def test_interrupted_sync_goes_on_from_there(lock: Path, root: Path, world: World) -> None:
    arguments = [sys.executable, "-m", "resolver", "sync", str(lock), "--comfyui-root", str(root)]
    with running_hub(world, bytes_per_second=2_000_000) as slow:
        process = subprocess.Popen(
            arguments,
            cwd=CHECKOUT,
            env=environment(slow),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background has its children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        deadline = time.monotonic() + 30
        while not any(path.stat().st_blocks * 512 > 1_000_000 for path in root.rglob("*.part")):
            assert time.monotonic() < deadline, "no part file grew"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in errors) == (130, False), errors
    with running_hub(world) as fast:
        again = run(*arguments[3:], hub=fast)
        assert again.returncode == 0, again.stdout + again.stderr
        assert any("Range" in entry.headers for entry in fast.log.entries("storage"))
    assert len(files(root)) == 4


def test_a_file_that_is_here_is_verified_by_its_content(tmp_path: Path, root: Path) -> None:
    world = World.for_urls([URL], sizes=9000)
    file = world.file_at(URL)
    assert file is not None
    path = written(tmp_path / "l.json", locked(world))
    place = root / "models" / "vae" / "x.safetensors"
    place.parent.mkdir()
    place.write_bytes(file.content)
    assert run("sync", path, "--frozen", "--comfyui-root", str(root)).returncode == 0
    changed = bytearray(file.content)
    changed[-1] ^= 1
    place.write_bytes(changed)
    outcome = run("sync", path, "--frozen", "--comfyui-root", str(root))
    assert (outcome.returncode, "FILE_DIFFERS" in outcome.stdout) == (1, True)
