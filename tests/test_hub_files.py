"""The files that the hubs serve are real ones, and the same on every machine."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib

import pytest
from blake3 import blake3

from demo import HubFile
from demo.gguf import make_gguf
from demo.layouts import Layout, layout_of
from demo.safetensors import MIN_SIZE, make_safetensors


@pytest.mark.parametrize("size", [MIN_SIZE, 65_535, 65_536, 99_999, 1_234_567])
def test_a_made_file_is_a_whole_safetensors_file_of_the_size_asked_for(size: int) -> None:
    content = make_safetensors("seed", size)
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert len(content) == size
    assert header.pop("__metadata__")["format"] == "pt"
    width = {"BF16": 2, "U8": 1}
    end = 0
    for entry in header.values():
        begin, stop = entry["data_offsets"]
        count = 1
        for dimension in entry["shape"]:
            count *= dimension
        assert begin == end, "a hole between tensors"
        assert stop - begin == count * width[entry["dtype"]]
        end = stop
    assert end == size - 8 - length


def test_a_made_file_is_read_by_the_safetensors_package() -> None:
    safetensors = pytest.importorskip("safetensors")
    names = {name for name, _ in safetensors.deserialize(make_safetensors("seed", 100_003))}
    assert names == {"blocks.0.weight", "blocks.1.weight", "blocks.2.weight", "blocks.3.weight", "tail"}


def test_a_size_too_small_for_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        make_safetensors("seed", MIN_SIZE - 1)


def test_contents_depend_on_the_seed_alone_and_are_pinned() -> None:
    digest = hashlib.sha256(make_safetensors("a/b/c.safetensors", 65_536)).hexdigest()
    assert digest == "e626eb9a209cfd6ebc3e845e785fb8c028ba24c5e64e391cf5c6c2c3f369c472"
    assert make_safetensors("a", 8192) != make_safetensors("b", 8192)


def test_a_made_gguf_file_states_its_architecture_and_no_tensors() -> None:
    content = make_gguf("seed", 4096, "flux")
    magic, version, tensors, entries = struct.unpack("<4sIQQ", content[:24])
    assert (magic, version, tensors, entries, len(content)) == (b"GGUF", 3, 0, 1, 4096)
    (length,) = struct.unpack("<Q", content[24:32])
    key = content[32 : 32 + length]
    kind, size = struct.unpack("<IQ", content[32 + length :][:12])
    value = content[44 + length :][:size]
    assert (key, kind, value) == (b"general.architecture", 8, b"flux")
    with pytest.raises(ValueError, match="too small"):
        make_gguf("seed", 30)


@pytest.mark.parametrize(
    ("folder", "name", "tensor", "dtype"),
    [
        ("vae", "ae.safetensors", "decoder.conv_in.weight", "BF16"),
        ("loras", "ink.safetensors", "diffusion_model.blocks.0.attn.to_q.lora_A.weight", "BF16"),
        (
            "diffusion_models",
            "flux1-dev-fp8.safetensors",
            "double_blocks.0.img_attn.qkv.weight",
            "F8_E4M3",
        ),
        ("diffusion_models", "wan2.1_fp16.safetensors", "patch_embedding.weight", "F16"),
        (
            "text_encoders",
            "t5xxl_fp16.safetensors",
            "encoder.block.0.layer.0.SelfAttention.q.weight",
            "F16",
        ),
        ("text_encoders", "qwen_4b.safetensors", "model.embed_tokens.weight", "BF16"),
        ("checkpoints", "sd_fp32.safetensors", "first_stage_model.decoder.conv_in.weight", "F32"),
        ("upscale_models", "4x.safetensors", "model.0.weight", "BF16"),
    ],
)
def test_the_header_of_a_small_file_tells_what_it_is(folder: str, name: str, tensor: str, dtype: str) -> None:
    safetensors = pytest.importorskip("safetensors")
    file = HubFile.of_layout(f"x/{name}", "seed", layout_of(folder, name))
    assert len(file.content) == file.size < 65_536
    tensors = dict(safetensors.deserialize(file.content))
    assert tensors[tensor]["dtype"] == dtype
    assert int.from_bytes(file.content[:8], "little") % 8 == 0


def test_precisions_of_a_model_have_equal_shapes_and_sizes_that_say_so() -> None:
    half, quarter = (layout_of("vae", f"wan_{precision}.safetensors") for precision in ("fp16", "fp8_scaled"))
    assert half.shape == quarter.shape

    def weights(layout: Layout) -> int:
        content = layout.file("seed")
        return len(content) - 8 - int.from_bytes(content[:8], "little")

    assert weights(half) == 2 * weights(quarter) > 0


def test_equal_seeds_and_layouts_are_equal_contents_under_any_name() -> None:
    layout = layout_of("vae", "ae.safetensors")
    one, other = HubFile.of_layout("a", "seed", layout), HubFile.of_layout("b/c", "seed", layout)
    assert one.sha256 == other.sha256 == hashlib.sha256(one.content).hexdigest()
    assert HubFile.of_layout("a", "another", layout).sha256 != one.sha256


def test_git_knows_a_small_file_by_its_content_and_a_large_one_by_its_pointer() -> None:
    small, large = HubFile.of_text("README.md", "hello\n"), HubFile("a.bin", 1000, "a")
    # What `git hash-object` says of a file with this line.
    assert small.blob_id == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert large.pointer.decode().splitlines()[1:] == [f"oid sha256:{large.sha256}", "size 1000"]
    assert (small.is_lfs, large.is_lfs) == (False, True)


def test_civitais_hashes_are_of_the_parts_that_their_makers_hash() -> None:
    file = HubFile("a.safetensors", 1_200_000, "a")
    content, hashes = file.content, file.civitai_hashes
    header = 8 + int.from_bytes(content[:8], "little")
    assert hashes["SHA256"] == hashlib.sha256(content).hexdigest().upper()
    assert hashes["AutoV2"] == hashes["SHA256"][:10]
    assert hashes["AutoV1"] == hashlib.sha256(content[1 << 20 :][: 1 << 16]).hexdigest()[:8].upper()
    assert hashes["AutoV3"] == hashlib.sha256(content[header:]).hexdigest()[:12].upper()
    assert hashes["CRC32"] == f"{zlib.crc32(content):08X}"
    assert hashes["BLAKE3"] == blake3(content).hexdigest().upper()
    assert "AutoV3" not in HubFile("a.ckpt", 5000, "a").civitai_hashes
