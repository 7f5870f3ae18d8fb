"""The library lists what ComfyUI lists, and judges a value as ComfyUI would."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resolver.analysis import analyze
from resolver.folders import FolderKnowledge, NodeInputs
from resolver.host import FolderSpec
from resolver.library import Library
from resolver.library.hashes import FileHashes
from resolver.library.substitutes import SubstituteIndex
from resolver.roles import RoleIndex
from resolver.schemas import Analysis, Model
from resolver.store import Store
from resolver.workflow.read import read_workflow
from tests.fakes import FakeHost, folder
from tests.graphs import metadata, node, widget, workflow

KNOWN = FolderKnowledge(
    observed={
        "LoraLoader": NodeInputs(("lora_name",), {"lora_name": ("loras",)}),
        "VAELoader": NodeInputs(("vae_name",), {"vae_name": ("vae",)}),
        "UnetLoaderGGUF": NodeInputs(("unet_name",), {"unet_name": ("diffusion_models", "unet_gguf")}),
        "Own": NodeInputs(("file", "mode"), {}, frozenset({"file"})),
        "SaveLora": NodeInputs(("filename_prefix",), {}),
    },
    learned={"NotInstalled": NodeInputs(("x",), {"x": ("loras",)})},
)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    models = tmp_path / "models"
    return FakeHost(
        tmp_path,
        {
            "loras": folder("loras", models / "loras", tmp_path / "more" / "loras"),
            "vae": folder("vae", models / "vae"),
            "diffusion_models": folder("diffusion_models", models / "diffusion_models"),
            "unet_gguf": folder("unet_gguf", models / "diffusion_models", extensions=frozenset({".gguf"})),
        },
    )


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def judge(host: FakeHost, *nodes: dict[str, Any], offered: frozenset[str] | None = None) -> Analysis:
    found = read_workflow(workflow(*nodes))
    return analyze(found, KNOWN, Library(host).snapshot(), lambda node_type, name: offered)


def one(host: FakeHost, *nodes: dict[str, Any]) -> Model:
    models = judge(host, *nodes).models
    assert len(models) == 1
    return models[0]


def lora(value: str, **extra: Any) -> dict[str, Any]:
    return node(1, "LoraLoader", [value], inputs=[widget("lora_name")], **extra)


def test_a_listed_value_is_present_with_its_path_and_size(host: FakeHost, tmp_path: Path) -> None:
    path = put(tmp_path / "models/loras/style/a.safetensors", b"12345")
    model = one(host, lora("style/a.safetensors"))
    assert (model.id, model.status, model.path, model.size) == (
        "loras/style/a.safetensors",
        "present",
        str(path),
        5,
    )
    assert model.references[0].model_dump() == {
        "node_id": "1",
        "node_type": "LoraLoader",
        "input": "lora_name",
        "value": "style/a.safetensors",
        "active": True,
    }


@pytest.mark.skipif(os.sep != "/", reason="separators are the other way round on Windows")
def test_the_other_separator_is_elsewhere(host: FakeHost, tmp_path: Path) -> None:
    put(tmp_path / "models/loras/style/a.safetensors")
    model = one(host, lora("style\\a.safetensors"))
    assert (model.status, model.name, model.alternatives[0].score) == (
        "elsewhere",
        "style/a.safetensors",
        1.0,
    )


@pytest.mark.skipif(os.sep != "/", reason="separators are the other way round on Windows")
@pytest.mark.parametrize("name", ["model", "diffusion_pytorch_model", "ip-adapter", "vae"])
def test_the_other_separator_is_elsewhere_for_a_name_that_tells_nothing_too(
    host: FakeHost, tmp_path: Path, name: str
) -> None:
    path = put(tmp_path / f"models/loras/style/{name}.safetensors")
    put(tmp_path / f"models/loras/other/{name}.safetensors")
    put(tmp_path / f"models/vae/style/{name}.safetensors")
    model = one(host, lora(f"style\\{name}.safetensors"))
    assert (model.status, [found.path for found in model.alternatives]) == ("elsewhere", [str(path)])
    assert one(host, lora(f"{name}.safetensors")).status == "missing"


def test_a_whole_model_is_not_the_bare_one_of_that_name(host: FakeHost, tmp_path: Path) -> None:
    host.table["checkpoints"] = folder("checkpoints", tmp_path / "models/checkpoints")
    put(tmp_path / "models/checkpoints/flux1-dev-fp8.safetensors")
    loader = node(1, "UnetLoaderGGUF", ["flux1-dev-fp8.safetensors"], inputs=[widget("unet_name")])
    model = one(host, loader)
    assert (model.status, model.alternatives) == ("missing", [])


def test_the_same_name_below_another_familys_directory_is_another_file(
    host: FakeHost, tmp_path: Path
) -> None:
    put(tmp_path / "models/loras/SD1.5/add_detail.safetensors")
    model = one(host, lora("SDXL/add_detail.safetensors"))
    assert (model.status, model.alternatives) == ("missing", [])
    put(tmp_path / "models/loras/mine/add_detail.safetensors")
    assert one(host, lora("SDXL/add_detail.safetensors")).status == "elsewhere"
    put(tmp_path / "models/loras/Wan/sharp.safetensors")
    assert one(host, lora("Wan2.2/sharp.safetensors")).status == "elsewhere", "the same family, less exactly"


@pytest.mark.parametrize("place", ["models/loras/other/a.safetensors", "models/vae/a.safetensors"])
def test_another_subfolder_or_folder_is_elsewhere(host: FakeHost, tmp_path: Path, place: str) -> None:
    path = put(tmp_path / place)
    model = one(host, lora("a.safetensors"))
    assert model.status == "elsewhere"
    assert [alternative.path for alternative in model.alternatives] == [str(path)]


def test_a_similar_name_or_a_generic_one_elsewhere_is_not_the_file(host: FakeHost, tmp_path: Path) -> None:
    put(tmp_path / "models/loras/a_v2.safetensors")
    put(tmp_path / "models/vae/diffusion_pytorch_model.safetensors")
    assert one(host, lora("a.safetensors")).status == "missing"
    assert one(host, lora("x/diffusion_pytorch_model.safetensors")).status == "missing"


def test_another_precision_is_an_alternative_and_says_so(host: FakeHost, tmp_path: Path) -> None:
    for name in ("flux1-dev-fp8.safetensors", "flux1-schnell-fp8.safetensors", "flux1-fill-dev.safetensors"):
        put(tmp_path / "models/loras" / name)
    model = one(host, lora("flux1-dev.safetensors"))
    assert model.status == "missing", "it is not the file that was asked for"
    assert [(found.name, found.difference) for found in model.alternatives] == [
        ("flux1-dev-fp8.safetensors", "precision: - / fp8")
    ]
    assert model.alternatives[0].score < 0.8


def test_a_high_noise_model_is_no_alternative_to_a_low_noise_one(host: FakeHost, tmp_path: Path) -> None:
    put(tmp_path / "models/loras/wan2.2_i2v_low_noise_14B_fp16.safetensors")
    assert one(host, lora("wan2.2_i2v_high_noise_14B_fp16.safetensors")).alternatives == []


def test_names_are_compared_in_their_case(host: FakeHost, tmp_path: Path) -> None:
    put(tmp_path / "models/loras/A.safetensors")
    assert one(host, lora("a.safetensors")).status == "missing"


def test_a_file_of_an_extension_the_folder_does_not_list_is_not_present(
    host: FakeHost, tmp_path: Path
) -> None:
    put(tmp_path / "models/loras/a.gguf")
    assert one(host, lora("a.gguf")).status == "missing"


def test_an_input_of_two_folders_finds_its_file_in_either(host: FakeHost, tmp_path: Path) -> None:
    loader = node(1, "UnetLoaderGGUF", ["q.gguf"], inputs=[widget("unet_name")])
    assert one(host, loader).id == "unet_gguf/q.gguf", "the folder that would list it"
    put(tmp_path / "models/diffusion_models/q.gguf")
    assert one(host, loader).status == "present"


def test_special_values_and_names_to_save_under_are_not_models(host: FakeHost) -> None:
    nodes = [
        lora("None"),
        node(2, "VAELoader", ["pixel_space"], inputs=[widget("vae_name")]),
        node(3, "SaveLora", ["out.safetensors"], inputs=[widget("filename_prefix")]),
        node(4, "NotInstalled", ["None"], inputs=[widget("x")]),
        lora("https://example.com/a.safetensors"),
        lora("two lines\na.safetensors"),
    ]
    assert judge(host, *nodes, offered=frozenset({"None", "pixel_space"})).models == []


def test_what_a_node_offers_itself_is_present(host: FakeHost) -> None:
    own = node(1, "Own", ["rife47.pth", "a"], inputs=[widget("file"), widget("mode")])
    offered = frozenset({"rife47.pth", "rife49.pth"})
    assert [(m.status, m.path) for m in judge(host, own, offered=offered).models] == [("present", None)]
    assert [m.status for m in judge(host, own, offered=frozenset({"rife49.pth"})).models] == ["missing"]


def test_metadata_of_another_folder_says_nothing(host: FakeHost) -> None:
    name = "diffusion_pytorch_model.safetensors"
    other = node(
        1, "VAELoader", [name], inputs=[widget("vae_name")], properties=metadata(name, "vae", hash="ab" * 32)
    )
    models = {model.id: model for model in judge(host, other, {**lora(name), "id": 2}).models}
    assert models[f"vae/{name}"].sha256 == "ab" * 32
    assert (models[f"loras/{name}"].sha256, models[f"loras/{name}"].url) == (None, None)


def test_one_model_with_several_references_is_active_if_one_of_them_is(host: FakeHost) -> None:
    model = one(host, lora("a.safetensors", mode=4), {**lora("a.safetensors"), "id": 2})
    assert (model.active, [reference.active for reference in model.references]) == (True, [False, True])
    assert one(host, lora("a.safetensors", mode=4)).active is False


def test_a_name_from_a_text_node_is_the_loaders(host: FakeHost) -> None:
    loader = lora("stale.safetensors")
    loader["inputs"][0]["link"] = 9
    content = workflow(node(7, "SomeText", ["wired.safetensors"]), loader, links=[[9, 7, 0, 1, 0, "STRING"]])
    api = {
        "7": {"class_type": "SomeText", "inputs": {"text": "wired.safetensors"}},
        "1": {"class_type": "LoraLoader", "inputs": {"lora_name": ["7", 0]}},
    }
    for form in (content, api):
        found = analyze(read_workflow(form), KNOWN, Library(host).snapshot(), lambda node_type, name: None)
        assert [(model.id, model.references[0].node_id) for model in found.models] == [
            ("loras/wired.safetensors", "1")
        ]


def test_without_any_knowledge_the_folder_is_null(host: FakeHost) -> None:
    model = one(host, node(1, "Mystery", ["a.safetensors"]))
    assert (model.id, model.folder, model.status, model.references[0].input) == (
        "?/a.safetensors",
        None,
        "missing",
        "#0",
    )


def test_metadata_tells_folder_url_and_hash(host: FakeHost) -> None:
    extra = metadata("a.safetensors", "vae", hash="AB" * 32, hash_type="SHA256")
    model = one(host, node(1, "Mystery", ["a.safetensors"], properties=extra))
    assert (model.folder, model.sha256) == ("vae", "ab" * 32)
    assert model.url == "https://huggingface.co/o/r/resolve/main/a.safetensors"


def test_hostile_names_are_warnings_not_models(host: FakeHost) -> None:
    found = judge(host, lora("../../etc/a.safetensors"))
    assert found.models == []
    assert [(warning.code, warning.node_id) for warning in found.warnings] == [("NAME_UNSAFE", "1")]


def test_the_summary_counts_every_model_once(host: FakeHost, tmp_path: Path) -> None:
    put(tmp_path / "models/loras/here.safetensors")
    put(tmp_path / "models/vae/there.safetensors")
    names = ["here.safetensors", "there.safetensors", "gone.safetensors"]
    found = judge(host, *[{**lora(name), "id": number} for number, name in enumerate(names)])
    summary = found.summary
    assert (summary.total, summary.present, summary.elsewhere, summary.missing, summary.unknown) == (
        3,
        1,
        1,
        1,
        0,
    )


# --- content ------------------------------------------------------------------------------------


class Hashed:
    """A library whose files' content is known."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.store = Store(host.data_directory / "store.sqlite3")
        self.hashes = FileHashes(self.store)
        self.library = Library(host, self.hashes)

    def put(self, path: Path, content: bytes) -> str:
        put(path, content)
        self.hashes.remember(str(path), path.stat(), hashlib.sha256(content).hexdigest())
        return str(path)

    def judge(self, value: str, wanted: bytes) -> Analysis:
        """``value``: of a LoRA loader whose workflow states the hash of ``wanted``."""
        stated = metadata(value, "loras", hash=hashlib.sha256(wanted).hexdigest(), hash_type="SHA256")
        found = read_workflow(workflow(lora(value, properties=stated)))
        return analyze(found, KNOWN, self.library.snapshot(), lambda node_type, name: None)

    def alternatives(self, value: str, wanted: bytes) -> list[tuple[str, bool | None, float, str | None]]:
        (model,) = self.judge(value, wanted).models
        return [(a.name, a.same_content, a.score, a.difference) for a in model.alternatives]


@pytest.fixture
def hashed(host: FakeHost) -> Iterator[Hashed]:
    made = Hashed(host)
    yield made
    made.store.close()


def test_the_same_content_under_another_name_is_elsewhere(hashed: Hashed, tmp_path: Path) -> None:
    hashed.put(tmp_path / "models/vae/third.safetensors", b"wanted")
    hashed.put(tmp_path / "models/loras/other-name.safetensors", b"wanted")
    put(tmp_path / "models/loras/sub/a.safetensors", b"unhashed")
    (model,) = hashed.judge("a.safetensors", b"wanted").models
    assert model.status == "elsewhere"
    assert hashed.alternatives("a.safetensors", b"wanted") == [
        ("other-name.safetensors", True, 1.0, None),
        ("third.safetensors", True, 0.85, None),
        ("sub/a.safetensors", None, 0.9, None),
    ]


def test_the_same_content_is_found_even_for_a_generic_name(hashed: Hashed, tmp_path: Path) -> None:
    hashed.put(tmp_path / "models/loras/known.safetensors", b"wanted")
    (model,) = hashed.judge("x/diffusion_pytorch_model.safetensors", b"wanted").models
    assert (model.status, model.alternatives[0].name) == ("elsewhere", "known.safetensors")


def test_other_content_of_that_name_is_not_the_file(hashed: Hashed, tmp_path: Path) -> None:
    hashed.put(tmp_path / "models/loras/sub/a.safetensors", b"else")
    (model,) = hashed.judge("a.safetensors", b"wanted").models
    assert model.status == "missing"
    assert hashed.alternatives("a.safetensors", b"wanted") == [("sub/a.safetensors", False, 0.3, "content")]


def test_a_changed_file_is_judged_by_its_name_again(hashed: Hashed, tmp_path: Path) -> None:
    path = tmp_path / "models/loras/sub/a.safetensors"
    hashed.put(path, b"else")
    path.write_bytes(b"written anew")
    assert hashed.alternatives("a.safetensors", b"wanted") == [("sub/a.safetensors", None, 0.9, None)]


def test_a_present_file_of_other_content_stays_present_with_a_warning(hashed: Hashed, tmp_path: Path) -> None:
    hashed.put(tmp_path / "models/loras/a.safetensors", b"else")
    found = hashed.judge("a.safetensors", b"wanted")
    assert found.models[0].status == "present", "ComfyUI will load it all the same"
    assert [(warning.code, warning.node_id) for warning in found.warnings] == [("CONTENT_DIFFERS", "1")]
    assert hashed.judge("a.safetensors", b"else").warnings == []
    put(tmp_path / "models/loras/unhashed.safetensors", b"else")
    assert hashed.judge("unhashed.safetensors", b"wanted").warnings == []


# --- substitutes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        "UltraSharp_x4_fp16.safetensors",
        "my-own.style_v2_fp8.safetensors",
        "flux1-dev-fp16.safetensors",
        "lora_17_fp16.safetensors",
        "sub/wan2.2_i2v_high_noise_14B_fp16.safetensors",
        "größe_malen_bf16.safetensors",
        "nothing-like-it.safetensors",
        "x.safetensors",
        "high_noise_model.safetensors",
    ],
)
def test_reading_few_names_finds_what_reading_all_finds(wanted: str) -> None:
    names = [
        *(f"style-{n % 7}/lora_{n}_bf16.safetensors" for n in range(50)),
        "4x/ultra_sharp-4x_bf16.safetensors",
        "4x-Ultrasharp.pth",
        "MyOwnStyle_v2.safetensors",
        "my_own_style.safetensors",
        "flux1-dev-fp8.safetensors",
        "flux1-schnell.safetensors",
        "deep/wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
        "wan2.2_i2v_low_noise_14B_fp16.safetensors",
        "GRÖSSE-malen.safetensors",
        "Größe Malen fp8.safetensors",
        "X.safetensors",
        "High_Noise_Model.safetensors",
        "high_noise_model.ckpt",
    ]
    all_read = RoleIndex(("loras", name) for name in names).find(wanted, "loras")
    assert SubstituteIndex("loras", names).find(wanted) == all_read
    assert bool(all_read) == (wanted not in ("nothing-like-it.safetensors", "lora_17_fp16.safetensors"))


def test_of_a_large_folder_only_the_names_in_question_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"style-{n}/portrait_{chr(97 + n % 26) * 5}_{n}_bf16.safetensors" for n in range(2000)]
    index = SubstituteIndex("loras", [*names, "sunset-dreams-fp8.safetensors"])
    read: list[str] = []
    roles_compare = importlib.import_module(
        "resolver.roles.compare"
    )  # its package has a function of that name
    original = roles_compare.parse_roles

    def watched(name: str, folder: str | None = None) -> Any:
        read.append(name)
        return original(name, folder)

    monkeypatch.setattr(roles_compare, "parse_roles", watched)
    assert [match.file[1] for match in index.find("sunset_dreams.safetensors")] == [
        "sunset-dreams-fp8.safetensors"
    ]
    assert set(read) == {"sunset_dreams.safetensors", "sunset-dreams-fp8.safetensors"}


# --- scanning -----------------------------------------------------------------------------------


def names(library: Library, folder_name: str = "loras") -> set[str]:
    return {file.name for file in library.snapshot().files(folder_name)}


def test_changes_are_seen_at_once_however_quick(host: FakeHost, tmp_path: Path) -> None:
    library, root = Library(host), tmp_path / "models/loras"
    assert names(library) == set()
    for number in range(20):
        put(root / f"sub/{number}.safetensors")
        assert len(names(library)) == number + 1
    (root / "sub/3.safetensors").unlink()
    (root / "sub").rename(root / "renamed")
    assert names(library) == {f"renamed/{number}.safetensors" for number in range(20) if number != 3}


def test_a_change_within_one_tick_of_the_clock_is_seen(host: FakeHost, tmp_path: Path) -> None:
    library, root = Library(host), tmp_path / "models/loras"
    put(root / "a.safetensors")
    tick = root.stat().st_mtime_ns
    assert names(library) == {"a.safetensors"}
    put(root / "b.safetensors")
    os.utime(root, ns=(tick, tick))  # as a file system with a coarse clock would have it
    assert names(library) == {"a.safetensors", "b.safetensors"}


def test_nothing_is_read_again_where_nothing_changed(
    host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "models/loras/sub/a.safetensors")
    for directory, _, _ in os.walk(tmp_path):
        os.utime(directory, (1_600_000_000, 1_600_000_000))
    library = Library(host)
    before = library.snapshot()
    monkeypatch.setattr(os, "scandir", lambda path: pytest.fail(f"{path} was read again"))
    assert library.snapshot() is before


def test_links_are_followed_and_circles_end(host: FakeHost, tmp_path: Path) -> None:
    put(tmp_path / "disk/b.safetensors")
    root = tmp_path / "models/loras"
    (root / "linked").symlink_to(tmp_path / "disk")
    (root / "circle").symlink_to(root)
    (root / "dangling.safetensors").symlink_to(tmp_path / "nowhere")
    assert names(Library(host)) == {"linked/b.safetensors"}


def test_part_files_are_in_no_list_not_even_of_a_folder_that_lists_any_file(
    host: FakeHost, tmp_path: Path
) -> None:
    root = tmp_path / "models/any"
    host.table["any"] = FolderSpec("any", (root,), frozenset())
    put(root / ".model-resolver/.git/x.part")
    put(root / "shown.txt")
    assert names(Library(host), "any") == {"shown.txt"}


def test_the_first_root_that_has_a_name_wins(host: FakeHost, tmp_path: Path) -> None:
    first = put(tmp_path / "models/loras/a.safetensors")
    put(tmp_path / "more/loras/a.safetensors")
    assert [file.path for file in Library(host).snapshot().files("loras")] == [str(first)]


def test_the_library_lists_what_comfyui_lists(comfy: Any) -> None:
    from resolver.host.comfyui import ComfyUIHost

    models = comfy.base / "models"
    for place in (
        "loras/sub/x.SAFETENSORS",
        "loras/.hidden/y.pt",
        "loras/no.txt",
        "loras/.git/z.pt",
        "unet/u.sft",
    ):
        put(models / place)
    put(models / "diffusion_models/u.sft")
    snapshot = Library(ComfyUIHost()).snapshot()
    for name in snapshot.folders:
        if "folder" in snapshot.folders[name].extensions:
            continue  # diffusers lists directories
        listed = {entry.replace(os.sep, "/") for entry in comfy.folder_paths.get_filename_list(name)}
        assert {file.name for file in snapshot.files(name)} == listed, name
        for entry in listed:
            accepted = snapshot.accepted(name, entry.replace("/", os.sep))
            assert accepted is not None
            assert accepted.path == comfy.folder_paths.get_full_path(name, entry)
