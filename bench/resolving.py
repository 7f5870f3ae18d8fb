"""Finding models online: the models of the official templates among look-alikes, and by catalogs alone.

The hub's world has every model where its own URL says, and around it what makes finding hard
(``demo/lookalikes.py``). Nothing but folder and name of a model is known to the search; the templates'
own catalog is off. A model counts as right if the candidate has the very content. ``SEED=3`` makes another
world, ``SHOW=1`` shows each model that was not right first.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from demo.hub import Hub, running_hub
from demo.lookalikes import LookalikeWorld, build
from demo.templates import TrueModel, template_models
from resolver.app import Resolver
from resolver.host.standalone import StandaloneHost
from resolver.schemas import Candidate, Resolution
from resolver.settings import load_settings
from resolver.sources import Context, Wanted

from .report import at_most, heading, row

ONLINE = ("huggingface", "civitai")
CATALOGS = ("templates", "manager", "examples", "history")


def run() -> None:
    models = template_models()
    seed = int(os.environ.get("SEED", "0"))
    world = build(models, seed)
    repositories, files = len(world.world.repos), sum(len(repo.files) for repo in world.world.repos.values())
    heading(f"{len(models)} models in {repositories} repositories with {files} files (seed {seed})")
    with running_hub(world.world) as hub:
        _accuracy(hub, world, models)
        _stated(hub, world, models)
    with running_hub(world.world, latency=0.1) as hub:
        _speed(hub, models)
    _offline(models)


def _accuracy(hub: Hub, world: LookalikeWorld, models: Sequence[TrueModel]) -> None:
    with tempfile.TemporaryDirectory() as place:
        found = _resolve(_resolver(place, hub), [_wanted(model) for model in models], ONLINE)
    first = third = wrong = stated = 0
    for model in models:
        candidates = found[model.id].candidates
        right = [_is_right(world, model, c) for c in candidates[:3]]
        first += right[:1] == [True]
        third += any(right)
        stated += bool(candidates) and candidates[0].confidence == "exact"
        wrong += any(c.confidence == "exact" and not _is_right(world, model, c) for c in candidates)
        if os.environ.get("SHOW") and right[:1] != [True]:
            _show(found[model.id], world, model)
    share = first / len(models)
    row("right first", f"{first} of {len(models)}", f"{share:.1%}", target="≥ 97 %", met=share >= 0.97)
    row("right among the first three", f"{third} of {len(models)}", f"{third / len(models):.1%}")
    row("exact, but wrong", str(wrong), target="0", met=wrong == 0)
    states = Counter(resolution.state for resolution in found.values())
    row("resolved without asking", f"{states['resolved']} of {len(models)}")
    resolved = [model for model in models if found[model.id].state == "resolved"]
    astray = sum(
        not world.is_right(model.id, found[model.id].candidates[0].sha256 or "") for model in resolved
    )
    row("resolved without asking, but wrong", str(astray))
    row("requests a model", f"{len(hub.log.entries()) / len(models):.1f}")


def _stated(hub: Hub, world: LookalikeWorld, models: Sequence[TrueModel]) -> None:
    """Where the workflow says something: only then can anything be ``exact`` at all."""
    heading("What the workflow states")
    hashes = {model.id: world.truth[model.id][0].sha256 for model in models}
    stated: dict[str, Callable[[TrueModel], Wanted]] = {
        "its SHA-256": lambda model: replace(_wanted(model), sha256=hashes[model.id]),
        "its SHA-256, and a name of its own": lambda model: replace(
            _wanted(model), name=f"renamed {model.name.rpartition('/')[2]}", sha256=hashes[model.id]
        ),
        "ten digits of it": lambda model: replace(_wanted(model), autov2=hashes[model.id][:10]),
        "its URL": lambda model: replace(_wanted(model), url=model.urls[0]),
    }
    for what, known in stated.items():
        with tempfile.TemporaryDirectory() as place:
            wanted = [known(model) for model in models]
            found = _resolve(_resolver(place, hub), wanted, ("workflow", *ONLINE))
        best = {model.id: found[model.id].candidates[:1] for model in models}
        right = sum(any(_is_right(world, model, c) for c in best[model.id]) for model in models)
        exact = [
            (model, c) for model in models for c in found[model.id].candidates if c.confidence == "exact"
        ]
        wrong = sum(not _is_right(world, model, c) for model, c in exact)
        share = f"{right} of {len(models)} right first, {len({model.id for model, _ in exact})} exact"
        row(f"{what}: exact, but wrong", str(wrong), share, target="0", met=wrong == 0)


def _is_right(world: LookalikeWorld, model: TrueModel, candidate: Candidate) -> bool:
    return bool(candidate.sha256 and world.is_right(model.id, candidate.sha256))


def _speed(hub: Hub, models: Sequence[TrueModel]) -> None:
    heading("A workflow of 10 models, every answer 100 ms late")
    for known, runs in (("nothing remembered", 3), ("publishers remembered", 3)):
        times = []
        with tempfile.TemporaryDirectory() as kept:
            for number in range(runs):
                chosen = models[number * 37 : number * 37 + 10]
                with tempfile.TemporaryDirectory() as fresh:
                    place = kept if known.startswith("publishers") else fresh
                    resolver = _resolver(place, hub)
                    if place is kept and number == 0:
                        _resolve(resolver, [_wanted(models[-1])], ONLINE, stop=False)
                    started = time.perf_counter()
                    _resolve(resolver, [_wanted(model) for model in chosen], ONLINE)
                    times.append(time.perf_counter() - started)
        at_most(known, statistics.median(times), 3.0, "s", digits=2)


def _offline(models: Sequence[TrueModel]) -> None:
    heading("Catalogs on, network off")
    with tempfile.TemporaryDirectory() as place:
        found = _resolve(_resolver(place, None), [_wanted(model) for model in models], CATALOGS, online=False)
    states = Counter(resolution.state for resolution in found.values())
    row("resolved at once", f"{states['resolved']} of {len(models)}")
    row("several to choose from", f"{states['ambiguous']} of {len(models)}")


def _wanted(model: TrueModel) -> Wanted:
    return Wanted(model.id, model.folder, model.name)


def _resolver(place: str, hub: Hub | None) -> Resolver:
    root = Path(place)
    (root / "models").mkdir(exist_ok=True)
    given: dict[str, object] = {"comfyui_root": root}
    if hub is not None:
        environment = hub.environment()
        given |= {
            "hf_endpoint": hub.endpoint,
            "civitai_endpoint": hub.civitai,
            "allowed_hosts": environment["CMR_ALLOWED_HOSTS"],
        }
    resolver = Resolver(load_settings(given), StandaloneHost(root))
    resolver.start()
    return resolver


def _resolve(
    resolver: Resolver,
    wanted: Sequence[Wanted],
    sources: Sequence[str],
    *,
    online: bool = True,
    stop: bool = True,
) -> dict[str, Resolution]:
    async def collect() -> dict[str, Resolution]:
        answers = resolver.resolve(wanted, Context(), only=sources, online=online)
        return {resolution.id: resolution async for resolution in answers}

    try:
        return resolver.engine.submit(collect()).result()
    finally:
        if stop:
            resolver.close()


def _show(found: Resolution, world: LookalikeWorld, model: TrueModel) -> None:
    print(f"  {model.id}: {found.state}, {[(error.source, error.code) for error in found.errors]}")
    for candidate in found.candidates[:4]:
        right = "right" if _is_right(world, model, candidate) else "wrong"
        print(f"    {right} {candidate.confidence} {candidate.evidence} {candidate.url}")
