"""Which input loads from which folder: observed on node classes, learned, and stated by the user."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resolver.errors import SettingsError
from resolver.folders import FolderKnowledge, NodeInputs
from resolver.folders.declared import read_pack
from resolver.folders.learned import SNAPSHOT, Learned, learn, snapshot
from resolver.folders.observed import observe, options
from resolver.folders.published import published
from resolver.folders.stated import FILE_NAME, read_stated
from resolver.templates import installed_templates, template_workflows
from resolver.workflow.read import read_workflow
from tests.fakes import FakeHost, folder
from tests.graphs import metadata, node, widget, workflow


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(
        tmp_path, {name: folder(name, tmp_path / "models" / name) for name in ("loras", "vae", "unet_gguf")}
    )
    (tmp_path / "models/loras/mine.safetensors").write_bytes(b"x")

    class Plain:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {
                "required": {
                    "model": ("MODEL",),
                    "lora_name": (["None", *made.get_filename_list("loras")], {"tooltip": "x"}),
                    "strength": ("FLOAT", {"default": 1.0}),
                    "forced": ("INT", {"forceInput": True}),
                    "mode": (["a", "b"],),
                },
                "optional": {"vae_name": (sorted(made.get_filename_list("vae")),)},
                "hidden": {"prompt": "PROMPT"},
            }

    class Filtering:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            names = [name for name in made.get_filename_list("unet_gguf") if name.endswith(".gguf")]
            return {"required": {"unet_name": (names,)}}

    class WithoutExtensions:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"name": ([Path(name).stem for name in made.get_filename_list("loras")],)}}

    class V3:
        @classmethod
        def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
            nested = {"required": {"lora": ("COMBO", {"options": made.get_filename_list("loras")})}}
            return {
                "input": {
                    "required": {
                        "file": ("COMBO", {"options": made.get_filename_list("vae")}),
                        "kind": (
                            "COMFY_DYNAMICCOMBO_V3",
                            {"options": [{"key": "with lora", "inputs": nested}]},
                        ),
                    }
                }
            }

    class Broken:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            raise RuntimeError("no such file")

    made.nodes = {c.__name__: c for c in (Plain, Filtering, WithoutExtensions, V3, Broken)}
    return made


def test_markers_show_the_folder_behind_each_input(host: FakeHost) -> None:
    observed = observe(host)
    assert observed["Plain"].folders == {"lora_name": ("loras",), "vae_name": ("vae",)}
    assert observed["Plain"].order == ("lora_name", "strength", "mode", "vae_name")
    assert observed["Plain"].choices == {"mode"}
    assert observed["Filtering"].folders == {"unet_name": ("unet_gguf",)}
    assert observed["WithoutExtensions"].folders == {"name": ("loras",)}
    assert observed["V3"].folders == {"file": ("vae",), "kind.lora": ("loras",)}
    assert "Broken" not in observed


def test_a_directory_before_the_names_leads_to_the_folder_above(host: FakeHost, tmp_path: Path) -> None:
    """As the Impact Pack offers detectors."""
    for name in ("ultralytics", "ultralytics/bbox", "ultralytics/segm"):
        host.table[name.replace("/", "_")] = folder(name.replace("/", "_"), tmp_path / "models" / name)

    class Detector:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            boxes = ["bbox/" + name for name in host.get_filename_list("ultralytics_bbox")]
            nowhere = ["gone/" + name for name in host.get_filename_list("loras")]
            return {"required": {"model_name": (boxes,), "other": (nowhere,)}}

    host.nodes["Detector"] = Detector
    assert observe(host)["Detector"].folders == {"model_name": ("ultralytics",), "other": ("loras",)}


def test_a_class_that_keeps_its_list_keeps_the_real_one(host: FakeHost) -> None:
    class Keeping:
        kept: list[str] | None = None

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            if cls.kept is None:
                cls.kept = host.get_filename_list("loras")
            return {"required": {"lora": (cls.kept,)}}

    host.nodes["Keeping"] = Keeping
    observe(host)
    assert options(host, "Keeping", "lora") == {"mine.safetensors"}


def test_what_a_node_offers_now_includes_its_special_values(host: FakeHost) -> None:
    assert options(host, "Plain", "lora_name") == {"None", "mine.safetensors"}
    assert options(host, "Plain", "strength") is None
    assert options(host, "Broken", "x") is None
    assert options(host, "NotInstalled", "x") is None


def test_learning_pairs_metadata_with_widgets() -> None:
    loader = node(
        1,
        "NewLoader",
        ["a.safetensors", 1],
        inputs=[widget("file"), widget("n")],
        properties=metadata("a.safetensors", "clip"),
    )
    learned = learn([read_workflow(workflow(loader))])
    assert learned.nodes["NewLoader"].folders == {"file": ("text_encoders",)}
    assert learned.nodes["NewLoader"].order == ("file", "n")
    assert Learned.from_json(learned.as_json()) == learned


def test_an_order_seen_once_names_values_listed_by_position() -> None:
    stated = node(1, "L", ["x.safetensors", 1], inputs=[widget("file"), widget("n")])
    listed = node(2, "L", ["a.safetensors", 1], properties=metadata("a.safetensors", "loras"))
    assert learn([read_workflow(workflow(stated, listed))]).nodes["L"].folders == {"file": ("loras",)}


def test_generic_input_names_teach_nothing_of_other_nodes() -> None:
    def loader(node_type: str, name: str) -> dict[str, Any]:
        return node(1, node_type, ["a.pt"], inputs=[widget(name)], properties=metadata("a.pt", "detection"))

    learned = learn(
        [
            read_workflow(workflow(loader("A", "model_name"))),
            read_workflow(workflow(loader("B", "yolo_name"))),
        ]
    )
    assert learned.by_input == {"yolo_name": "detection"}


def test_the_kept_snapshot_is_what_the_pinned_templates_teach() -> None:
    found = installed_templates()
    assert found is not None, "the dev group installs the templates"
    taught = learn(workflow for _, workflow in template_workflows(found[1]))
    assert snapshot() == taught, f"run 'make learned' to renew {SNAPSHOT.name}"


def test_surer_knowledge_goes_first() -> None:
    knowledge = FolderKnowledge(
        stated={"A": NodeInputs(folders={"x": ("stated",)})},
        observed={
            "A": NodeInputs(folders={"x": ("observed",)}),
            "B": NodeInputs(choices=frozenset({"mode"})),
        },
        learned={"A": NodeInputs(folders={"x": ("learned",)}), "C": NodeInputs(folders={"x": ("learned",)})},
        by_input={"lora_name": "loras"},
    )
    assert knowledge.folders("A", "x") == ("stated",)
    assert knowledge.folders("C", "x") == ("learned",)
    assert knowledge.folders("Unknown", "lora_name") == ("loras",)
    assert knowledge.folders("B", "lora_name") == (), "an installed node knows better than its input's name"


PACK = """
import folder_paths
from nodes import Base

class Folders:
    MOTION = "animatediff_models"

def motion_models():
    return folder_paths.get_filename_list(Folders.MOTION)

class Motion:
    FIXED = ["net.pth", "other.pth"]

    @classmethod
    def INPUT_TYPES(cls):
        files = ["None"] + folder_paths.get_filename_list("clip")
        return {
            "required": {
                "model": ("MODEL",),
                "motion": (motion_models(),),
                "seed": ("INT", {"default": 0}),
                "forced": ("INT", {"forceInput": True}),
                "own": (cls.FIXED,),
                "config": (folder_paths.get_filename_list("configs"),),
                "lut": (folder_paths.get_filename_list("luts"),),
            },
            "optional": {"text": (files, {"default": "None"}), "odd": (somewhere(),), "late": ("INT",)},
        }

class Inherits(Motion):
    pass

class Loops:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {f"lora_{i}": (folder_paths.get_filename_list("loras"),) for i in range(3)}}

class New(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="New", inputs=[
            io.Model.Input("model"),
            io.Combo.Input("vae", options=folder_paths.get_filename_list("vae")),
            io.Int.Input("n"),
        ])

NODE_CLASS_MAPPINGS = {"Motion Loader": Motion, "Same": Inherits, "Loops": Loops}
"""


def test_the_source_of_a_pack_tells_what_its_loaders_list(tmp_path: Path) -> None:
    (tmp_path / "nodes.py").write_text(PACK)
    (tmp_path / "broken.py").write_text("class (")
    found = read_pack(tmp_path).nodes
    assert found.keys() == {"Motion Loader", "Same", "New"}
    assert (
        found["Same"]
        == found["Motion Loader"]
        == NodeInputs(
            # Nobody can tell whether ``odd`` is a widget, nor so the place of what follows.
            ("motion", "seed", "own", "config", "lut", "text"),
            {"motion": ("animatediff_models",), "text": ("text_encoders",)},
            frozenset({"own"}),
        )
    )
    assert found["New"] == NodeInputs(("vae", "n"), {"vae": ("vae",)})


def test_published_nodes_are_known_where_they_are_not_installed() -> None:
    knowledge = FolderKnowledge(by_input={"ckpt_name": "checkpoints"})
    assert knowledge.folders("IPAdapterModelLoader", "ipadapter_file") == ("ipadapter",)
    assert knowledge.order("CheckpointLoader") == ("config_name", "ckpt_name")
    assert knowledge.folders("RIFE VFI", "ckpt_name") == () != knowledge.folders("Unknown", "ckpt_name")
    assert knowledge.brings("RIFE VFI", "ckpt_name")
    installed = replace(knowledge, observed={"RIFE VFI": NodeInputs(folders={"ckpt_name": ("rife",)})})
    assert installed.folders("RIFE VFI", "ckpt_name") == ("rife",), "an installed node knows better"
    assert not installed.brings("RIFE VFI", "ckpt_name")


def test_what_is_kept_of_published_nodes_names_inputs_that_have_a_place() -> None:
    known = published()
    assert len(known) > 200
    for node_type, inputs in known.items():
        assert inputs.folders or inputs.choices, node_type
        assert not inputs.folders.keys() & inputs.choices, node_type
        assert len(set(inputs.order)) == len(inputs.order), node_type


def test_the_user_states_more_in_yaml(tmp_path: Path) -> None:
    assert read_stated(tmp_path) == {}
    (tmp_path / FILE_NAME).write_text("MyStack:\n  a: loras\n  b: unet\n")
    assert read_stated(tmp_path)["MyStack"].folders == {"a": ("loras",), "b": ("diffusion_models",)}
    for wrong in ("[1]", "MyStack: 3", "MyStack: {a: [1]}", "a: [unclosed"):
        (tmp_path / FILE_NAME).write_text(wrong)
        with pytest.raises(SettingsError) as caught:
            read_stated(tmp_path)
        assert FILE_NAME in caught.value.message


def test_only_the_observing_thread_sees_markers(comfy: Any) -> None:
    from resolver.host.comfyui import ComfyUIHost

    ask = comfy.folder_paths.get_filename_list
    with ThreadPoolExecutor(1) as other, comfy.folder_paths.cache_helper:
        with ComfyUIHost().listing(lambda folder: [f"marker of {folder}"]):
            assert ask("loras") == ["marker of loras"]
            assert other.submit(ask, "loras").result() == ["mine.safetensors"]
            assert ask("loras") == ["marker of loras"]
        assert ask("loras") == ["mine.safetensors"], "ComfyUI's own cache kept no marker"
        assert other.submit(ask, "loras").result() == ["mine.safetensors"]


def test_observing_is_invisible_to_other_threads(comfy: Any) -> None:
    """ComfyUI's own list, asked from another thread in the midst of observing, has no markers."""
    from resolver.host.comfyui import ComfyUIHost

    host, seen, stop = ComfyUIHost(), [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            with comfy.folder_paths.cache_helper:
                seen.extend(comfy.folder_paths.get_filename_list("loras"))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(50):
            assert observe(host)["LoraLoader"].folders["lora_name"] == ("loras",)
    finally:
        stop.set()
        thread.join()
    assert set(seen) == {"mine.safetensors"}
    assert comfy.folder_paths.get_filename_list("loras") == ["mine.safetensors"]
