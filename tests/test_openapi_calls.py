"""What ``openapi.json`` says is what the server does: requests made from it, right and wrong ones.

Schemathesis makes them: https://schemathesis.readthedocs.io/.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from demo.hub import running_hub
from demo.world import World
from resolver.http.openapi import document
from resolver.http.table import PREFIX
from tests.standalone_server import Server, serving

URL = "https://huggingface.co/o/r/resolve/main/x.safetensors"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    world = World.for_urls([URL], sizes=10_000)
    with running_hub(world) as hub, serving(tmp_path_factory.mktemp("api") / "ComfyUI", hub) as running:
        yield running


# The events never end, so no answer to them can be checked.
api = schemathesis.openapi.from_dict(document()).exclude(path=f"{PREFIX}/events")


def test_the_server_hands_out_this_document(server: Server) -> None:
    assert server.ask("GET", f"{PREFIX}/openapi.json") == (200, document())


@api.parametrize()
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case: Case, server: Server) -> None:
    case.headers = {**(case.headers or {}), "X-Model-Resolver": "1"}
    answer = case.call(base_url=server.url, timeout=30)
    if answer.status_code == 501 and case.path == f"{PREFIX}/prompt":
        return  # the only thing it can say: there is no ComfyUI
    case.validate_response(
        answer,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            negative_data_rejection,
        ],
    )
