"""A world of several hundred repositories around given models, in which each is hard to find.

Every model is where its URLs say, in its publisher's repository. Besides, there are for each:
a re-upload of the same name and content; the right content under another name; other content under
the right name; another precision, a GGUF quantisation, another version, size and role with nearly
equal names; a LoRA named like it; one among many in a collection, where it may be right or wrong; and
a model at Civitai that has the name in its title only. Some publishers' repositories are gated (their
re-uploads are not), some were renamed; private and disabled copies exist, too. Generic names
(``ae.safetensors``, ``diffusion_pytorch_model.safetensors``) are in every fifth repository.

All of it follows from the models and the seed. Files are a few KiB and made when read.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Literal
from urllib.parse import quote

from .civitai.catalog import PG, PG13, CivitaiFile, CivitaiModel, CivitaiVersion, ModelType, R
from .files import HubFile
from .layouts import Layout, layout_of
from .templates import TrueModel
from .variants import (
    camel_case,
    other_precision,
    other_role,
    other_size,
    other_version,
    quantised,
    stem_of,
    title,
)
from .world import HubRepo, HubUrl, World

Site = Literal["huggingface", "civitai", "modelscope"]

_MIRRORS = ("model-attic", "weights-depot", "second-shelf", "mirror-lane")
_IMPOSTORS = ("remix-works", "night-merges", "finetune-yard", "style-bakery")
_CONVERTERS = ("format-shop", "diffusers-desk", "layout-lab")
_QUANTISERS = ("tiny-bits", "small-tensors", "low-memory-club")
_TRAINERS = ("next-epoch", "lora-garden", "gradient-farm")
_COLLECTIONS = tuple(f"{owner}/comfyui-models" for owner in (*_MIRRORS, *_IMPOSTORS, *_TRAINERS))
_GENERIC = ("ae.safetensors", "vae/diffusion_pytorch_model.safetensors", "clip_l.safetensors")

_CIVITAI_TYPES: Mapping[str, tuple[ModelType, str]] = {
    "checkpoints": ("Checkpoint", "Model"),
    "diffusion_models": ("Checkpoint", "Diffusion Model"),
    "loras": ("LORA", "Model"),
    "vae": ("VAE", "Model"),
    "controlnet": ("Controlnet", "Model"),
    "embeddings": ("TextualInversion", "Model"),
    "upscale_models": ("Upscaler", "Model"),
}
_BASE_MODELS = (
    ("flux", "Flux.1 D"),
    ("wan", "Wan Video 14B t2v"),
    ("qwen", "Qwen"),
    ("sdxl", "SDXL 1.0"),
    ("sd1", "SD 1.5"),
)


@dataclass(frozen=True)
class RightPlace:
    """Where a model's true content can be had, under whatever name.

    ``repo``: its id; at Civitai ``models/1``. ``publisher``: whether the model's own URLs name this
    place. ``open``: whether anybody may download it. ``url``: the site's real one.
    """

    site: Site
    repo: str
    file: HubFile
    url: str
    publisher: bool
    open: bool

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def sha256(self) -> str:
        return self.file.sha256


@dataclass(frozen=True)
class LookalikeWorld:
    """``truth``: by model (``folder/name``), every place with its content, its publishers' first.

    Whatever else carries its name is wrong. Private and disabled copies are not places: nobody gets
    them. ``deleted``: ids of repositories that links may still lead to.
    """

    world: World
    truth: Mapping[str, tuple[RightPlace, ...]]
    deleted: frozenset[str]

    def is_right(self, model: str, sha256: str) -> bool:
        return any(place.sha256 == sha256 for place in self.truth[model])


def build(models: Sequence[TrueModel], seed: int = 0) -> LookalikeWorld:
    """The world around these models. Takes about a second for the official templates'."""
    builder = _Builder(seed)
    for model in models:
        builder.publish(model)
    for model in models:
        builder.surround(model)
    return builder.finish(models)


@dataclass(frozen=True)
class _Content:
    """What makes two files equal, whatever they are called."""

    seed: str
    layout: Layout

    def file(self, path: str) -> HubFile:
        return HubFile.of_layout(path, self.seed, self.layout)


class _Builder:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._files: dict[str, dict[str, HubFile]] = {}
        self._revisions: dict[str, set[str]] = {}
        self._by_url: dict[tuple[str, str], _Content] = {}
        self._publishers: dict[str, list[str]] = {}
        self._hidden: dict[str, Literal["private", "disabled"]] = {}
        self._modelscope: set[str] = set()
        self._civitai: list[CivitaiModel] = []

    def publish(self, model: TrueModel) -> None:
        """Puts a model where its URLs say. One file that two models name is one file."""
        places = [found for found in map(HubUrl.parse, model.urls) if found is not None]
        known = (self._by_url.get((found.repo, found.path)) for found in places)
        name = model.name.rsplit("/", 1)[-1]
        content = next(filter(None, known), _Content(f"published {model.id}", layout_of(model.folder, name)))
        for found in places:
            if (found.repo, found.path) not in self._by_url:
                self._by_url[found.repo, found.path] = content
                self._add(found.repo, content.file(found.path))
            self._revisions.setdefault(found.repo, {"main"}).add(found.revision)
        self._publishers[model.id] = list(dict.fromkeys(found.repo for found in places))

    def surround(self, model: TrueModel) -> None:
        """Puts the look-alikes of a published model around it."""
        found = next(filter(None, map(HubUrl.parse, model.urls)), None)
        if found is None:
            return
        content = self._by_url[found.repo, found.path]
        owner, _, project = found.repo.partition("/")
        folder, name, stem = model.folder, model.name.rsplit("/", 1)[-1], stem_of(model.name)
        mirror = self._add(f"{self._of(_MIRRORS, project)}/{project}", content.file(name))
        self._add(
            f"{self._of(_IMPOSTORS, project)}/{project}-comfy",
            self._other(f"{folder}/{name}", folder, name),
        )
        converted = self._add(
            f"{self._of(_CONVERTERS, project)}/{project}-diffusers",
            content.file(f"{stem}/diffusion_pytorch_model.safetensors"),
        )
        quantised_in = f"{self._of(_QUANTISERS, project)}/{project}-quantized"
        precise = f"{other_precision(stem)}.safetensors"
        self._add(quantised_in, self._other(precise, folder, precise, like=name))
        self._add(quantised_in, HubFile(f"{quantised(stem)}.gguf", 4096, f"{quantised_in} {stem}"))
        variants_in = f"{self._of(_TRAINERS, project)}/{project}-variants"
        for variant in (other_version(stem), other_size(stem), other_role(stem)):
            path = f"{folder}/{variant}.safetensors"
            self._add(variants_in, self._other(path, folder, path))
        # What a LoRA is to a base, a base is to a LoRA: the name alone does not tell which it is.
        twin = "diffusion_models" if folder == "loras" else "loras"
        self._add(variants_in, self._other(f"{twin}/{name}", twin, name))
        collected = f"{folder}/{name}"
        self._add(
            self._random.choice(_COLLECTIONS),
            content.file(collected) if self._random.random() < 0.5 else self._other(collected, folder, name),
        )
        self._add_to_civitai(model, content)
        if self._random.random() < 0.1:
            copy = f"{owner}/{project}-internal"
            self._hidden[self._add(copy, content.file(name))] = "private"
        if self._random.random() < 0.1:
            copy = f"{self._of(_MIRRORS[::-1], project)}/{project}-repack"
            self._hidden[self._add(copy, content.file(name))] = "disabled"
        if self._random.random() < 0.2:
            self._modelscope.add(mirror)
        for generic in _GENERIC:
            if self._random.random() < 0.1:
                self._add(converted, self._other(generic, "vae", f"{project} {generic}"))

    def finish(self, models: Iterable[TrueModel]) -> LookalikeWorld:
        publishers = sorted({repo for repos in self._publishers.values() for repo in repos})
        repos = {repo: self._repo(repo, repo in set(publishers)) for repo in self._files}
        renamed = {f"{repo}-preview": repo for repo in publishers if self._random.random() < 0.1}
        deleted = {f"{repo}-old" for repo in publishers if self._random.random() < 0.1}
        world = World(
            repos=repos,
            renamed={**renamed, publishers[0].partition("/")[2]: publishers[0]} if publishers else {},
            civitai=tuple(self._civitai),
            modelscope={repo: repos[repo] for repo in sorted(self._modelscope)},
        )
        return LookalikeWorld(world, self._truth(models, world), frozenset(deleted))

    def _of(self, owners: Sequence[str], project: str) -> str:
        """One of them, the same for every file of a project."""
        return owners[sum(project.encode()) % len(owners)]

    def _add(self, repo: str, file: HubFile) -> str:
        """Adds the file, unless one has its path already, and gives the repository's id."""
        self._files.setdefault(repo, {}).setdefault(file.path, file)
        return repo

    def _other(self, path: str, folder: str, name: str, *, like: str | None = None) -> HubFile:
        """A file of its own, with the tensors of what has this name, in the shapes of ``like``."""
        return HubFile.of_layout(path, f"other {self._random.random()}", layout_of(folder, name, like))

    def _repo(self, repo: str, published: bool) -> HubRepo:
        files = tuple(self._files[repo].values())
        card = f"---\nlicense: apache-2.0\n---\n# {repo.partition('/')[2]}\n"
        # A re-upload, now and then, has the more readers.
        likes = self._random.randrange(200, 3000) if published else int(self._random.paretovariate(0.6))
        hidden = self._hidden.get(repo)
        return HubRepo(
            id=repo,
            files=(HubFile.of_text("README.md", card), *files),
            gated="auto" if published and self._random.random() < 0.12 else None,
            revisions=frozenset(self._revisions.get(repo, {"main"})),
            private=hidden == "private",
            disabled=hidden == "disabled",
            downloads=likes * self._random.randrange(5, 50),
            likes=likes,
            license="apache-2.0",
            tags=("comfyui",) if published else ("safetensors",),
            day=self._random.randrange(0, 600),
        )

    def _add_to_civitai(self, model: TrueModel, content: _Content) -> None:
        kind, file_type = _CIVITAI_TYPES.get(model.folder, ("Other", "Model"))
        stem, chance = stem_of(model.name), self._random.random()
        number = 1000 + len(self._civitai)
        # Names the model, and may or may not be it.
        named = f"{camel_case(stem)}_v10.safetensors"
        true = self._random.random() < 0.35
        file = content.file(named) if true else self._other(named, model.folder, named)
        version = CivitaiVersion(
            id=10 * number,
            name="v1.0",
            files=(CivitaiFile(100 * number, file, type=file_type),),
            base_model=next((base for word, base in _BASE_MODELS if word in stem.lower()), "Other"),
            needs_login=0.05 < chance < 0.12,
            early_access_until=datetime(2100, 1, 1, tzinfo=timezone.utc) if 0.12 < chance < 0.17 else None,
            day=self._random.randrange(0, 600),
        )
        second = replace(
            version,
            id=version.id + 1,
            name=f"v0.9 {stem}",
            files=(
                CivitaiFile(
                    100 * number + 1,
                    self._other(f"{stem}.safetensors", model.folder, f"{stem} 0.9"),
                    type=file_type,
                ),
            ),
        )
        self._civitai.append(
            CivitaiModel(
                id=number,
                name=title(stem),
                type=kind,
                versions=(version, second),
                creator=self._random.choice(_IMPOSTORS),
                tags=("comfyui",),
                nsfw_level=self._random.choice((PG, PG, PG, PG | PG13, R)),
                mode="Archived" if chance < 0.03 else None,
                published=not 0.03 < chance < 0.05,
                downloads=self._random.randrange(100_000),
                thumbs_up=self._random.randrange(10_000),
            )
        )

    def _truth(self, models: Iterable[TrueModel], world: World) -> dict[str, tuple[RightPlace, ...]]:
        by_content: dict[tuple[str, Layout | None], list[RightPlace]] = {}
        for place in _places(world):
            by_content.setdefault((place.file.seed, place.file.layout), []).append(place)
        truth = {}
        for model in models:
            found = [parsed for parsed in map(HubUrl.parse, model.urls) if parsed is not None]
            contents = {self._by_url[parsed.repo, parsed.path] for parsed in found}
            own = {(parsed.repo, parsed.path) for parsed in found}
            places = [
                replace(place, publisher=(place.repo, place.path) in own and place.site == "huggingface")
                for content in contents
                for place in by_content[content.seed, content.layout]
            ]
            truth[model.id] = tuple(
                sorted(places, key=lambda place: (not place.publisher, place.site, place.repo, place.path))
            )
        return truth


def _places(world: World) -> Iterable[RightPlace]:
    """Every file that somebody may have, wherever it is."""
    for repo in world.repos.values():
        if not (repo.private or repo.disabled):
            for file in repo.files:
                url = f"https://huggingface.co/{repo.id}/resolve/main/{quote(file.path)}"
                yield RightPlace("huggingface", repo.id, file, url, False, repo.gated is None)
    for repo in world.modelscope.values():
        for file in repo.files:
            url = f"https://modelscope.cn/models/{repo.id}/resolve/master/{quote(file.path)}"
            yield RightPlace("modelscope", repo.id, file, url, False, True)
    for model in world.civitai:
        if model.published and model.mode is None:
            for version in model.versions:
                url = f"https://civitai.com/api/download/models/{version.id}"
                free = not version.needs_login and version.early_access_until is None
                yield RightPlace("civitai", f"models/{model.id}", version.files[0].file, url, False, free)
