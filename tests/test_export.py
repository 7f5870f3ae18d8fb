"""Exported scripts, run for real: they fetch what they should, and no name in them does anything."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from demo.hub import Hub, running_hub
from demo.options import DEMO_TOKEN
from demo.world import World
from resolver.errors import BadInput
from resolver.exporting import FORMATS, export, parse_format
from resolver.exporting.bash import quoted as in_bash
from resolver.exporting.powershell import quoted as in_powershell
from resolver.lockfile import decode_lock
from resolver.locking import Located
from resolver.names import parse_model_name
from resolver.net.policy import UrlPolicy
from resolver.schemas import ErrorBody
from resolver.settings import Settings
from tests.test_cli import CHECKOUT, EXAMPLE, environment, lines, run

POLICY = UrlPolicy(Settings())
HOSTILE = (
    "$(touch pwned).safetensors",
    "`touch pwned`.safetensors",
    "a; touch pwned; b.safetensors",
    "a' ; touch pwned ; '.safetensors",
    "a'; touch pwned #.safetensors",
    "-rf.safetensors",
    "--output=pwned/-o x.safetensors",
    "%s%n%PATH%.safetensors",
    "${HOME}&&touch pwned.safetensors",
    "!!~ $1 \u2018touch pwned\u2019 \u201a\u201b.safetensors",
    "名前 é Ò \U0001f600.safetensors",
    "{a,b}[0-9]!(x).safetensors",
    "#x = y\u2028touch pwned.safetensors",
    ",)]; import os; os.mkdir('pwned') #.safetensors",
)
FOR_ARIA2 = tuple(name for name in HOSTILE if "${HOME}" not in name)
URL = "https://huggingface.co/o/r/resolve/main/{}"


def located(name: str, world: World, url: str, **extra: object) -> Located:
    file = world.file_at(url)
    assert file is not None
    known = {"size": file.size, "sha256": file.sha256, "urls": (url,), **extra}
    return Located("loras", parse_model_name(name), **known)  # type: ignore[arg-type]


def script(format_name: str, models: Sequence[Located], directory: Path) -> list[str]:
    """The command that runs an exported script."""
    text = export(format_name, models, (), POLICY).text
    path = directory / f"models.{format_name}"
    path.write_bytes(text.encode())
    return ["bash", str(path)] if format_name == "bash" else [sys.executable, "-I", str(path)]


def run_script(command: list[str], cwd: Path, hub: Hub, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**environment(), "HF_ENDPOINT": hub.endpoint, "CIVITAI_ENDPOINT": hub.civitai, **extra},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def hostile_world() -> World:
    return World.for_urls([URL.format(index) for index in range(len(HOSTILE))], sizes=5000)


@pytest.fixture(scope="module")
def hub(hostile_world: World) -> Iterator[Hub]:
    with running_hub(hostile_world) as running:
        yield running


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.parametrize("format_name", ["bash", "python"])
def test_names_of_metacharacters_are_only_names(
    format_name: str, hostile_world: World, hub: Hub, tmp_path: Path, work: Path
) -> None:
    models = [located(name, hostile_world, URL.format(index)) for index, name in enumerate(HOSTILE)]
    command = script(format_name, models, tmp_path)
    for _ in range(2):  # the second finds all in place
        outcome = run_script(command, work, hub)
        assert outcome.returncode == 0, outcome.stderr
    found = {
        path.relative_to(work / "models" / "loras").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in work.rglob("*")
        if path.is_file()
    }
    assert found == {model.name: model.sha256 for model in models}
    assert os.listdir(work) == ["models"], "nothing was made but models"


@pytest.mark.parametrize("format_name", ["bash", "python"])
def test_hostile_urls_are_only_urls(format_name: str, tmp_path: Path, work: Path) -> None:
    urls = [URL.format(name) for name in ("$(touch pwned)'`x`.safetensors", "a b;&[1-2]{x,y}.safetensors")]
    world = World.for_urls(urls, sizes=5000)
    models = [located(f"{index}.safetensors", world, url) for index, url in enumerate(urls)]
    with running_hub(world) as hub:
        outcome = run_script(script(format_name, models, tmp_path), work, hub)
    assert outcome.returncode == 0, outcome.stderr
    assert sorted(os.listdir(work / "models" / "loras")) == ["0.safetensors", "1.safetensors"]
    assert os.listdir(work) == ["models"]


@pytest.mark.parametrize("format_name", ["bash", "python"])
def test_other_content_is_neither_taken_nor_overwritten(
    format_name: str, hostile_world: World, hub: Hub, tmp_path: Path, work: Path
) -> None:
    models = [
        located("wrong.safetensors", hostile_world, URL.format(0), sha256="0" * 64),
        located("mine.safetensors", hostile_world, URL.format(1)),
        located("good.safetensors", hostile_world, URL.format(2)),
    ]
    (work / "models" / "loras").mkdir(parents=True)
    (work / "models" / "loras" / "mine.safetensors").write_bytes(b"mine")
    outcome = run_script(script(format_name, models, tmp_path), work, hub)
    assert outcome.returncode == 1
    assert "wrong.safetensors" in outcome.stderr
    assert "mine.safetensors" in outcome.stderr
    assert (work / "models" / "loras" / "mine.safetensors").read_bytes() == b"mine"
    assert sorted(os.listdir(work / "models" / "loras")) == ["good.safetensors", "mine.safetensors"]


@pytest.mark.parametrize("format_name", ["bash", "python"])
def test_what_has_come_is_gone_on_with(
    format_name: str, hostile_world: World, hub: Hub, tmp_path: Path, work: Path
) -> None:
    model = located("x.safetensors", hostile_world, URL.format(3))
    command = script(format_name, [model], tmp_path)
    part = re.search(r"\.[0-9a-f]{24}\.part", Path(command[-1]).read_text())
    file = hostile_world.file_at(URL.format(3))
    assert part is not None
    assert file is not None
    (work / "models" / "loras").mkdir(parents=True)
    (work / "models" / "loras" / part.group()).write_bytes(file.content[:1000])
    outcome = run_script(command, work, hub)
    assert outcome.returncode == 0, outcome.stderr
    assert (work / "models" / "loras" / "x.safetensors").read_bytes() == file.content
    ranges = [entry.headers.get("Range") for entry in hub.log.entries("storage")]
    assert "bytes=1000-" in ranges


@pytest.mark.parametrize("format_name", ["bash", "python"])
def test_a_part_that_is_whole_or_wrong_ends_well(
    format_name: str, hostile_world: World, hub: Hub, tmp_path: Path, work: Path
) -> None:
    whole, wrong = (located(f"{index}.safetensors", hostile_world, URL.format(index)) for index in (4, 5))
    command = script(format_name, [whole, wrong], tmp_path)
    first, second = re.findall(r"\.[0-9a-f]{24}\.part", Path(command[-1]).read_text())
    directory = work / "models" / "loras"
    directory.mkdir(parents=True)
    file = hostile_world.file_at(URL.format(4))
    assert file is not None
    (directory / first).write_bytes(file.content)
    (directory / second).write_bytes(b"x" * 9000)
    run_script(command, work, hub)
    outcome = run_script(command, work, hub)
    assert outcome.returncode == 0, outcome.stderr
    assert sorted(os.listdir(directory)) == ["4.safetensors", "5.safetensors"]


@pytest.mark.parametrize("format_name", ["bash", "python"])
def test_the_token_comes_from_the_environment_and_goes_to_the_hub_only(
    format_name: str, tmp_path: Path, work: Path
) -> None:
    url = URL.format("gated.safetensors")
    world = World.for_urls([url], sizes=5000, gated={"o/r": "auto"})
    model = located("gated.safetensors", world, url, needs="licence")
    command = script(format_name, [model], tmp_path)
    with running_hub(world) as gated:
        without = run_script(command, work, gated)
        outcome = run_script(command, work, gated, HF_TOKEN=DEMO_TOKEN)
        entries = [*gated.log.entries("api"), *gated.log.entries("storage")]
        told = [entry for entry in gated.log.entries("storage") if "Authorization" in entry.headers]
    assert (without.returncode, outcome.returncode) == (1, 0), outcome.stderr
    assert entries
    assert told == []
    assert DEMO_TOKEN not in Path(command[-1]).read_text()


@pytest.mark.parametrize("format_name", ["bash", "python"])
def test_a_mirror_serves_where_the_first_fails(
    format_name: str, hostile_world: World, hub: Hub, tmp_path: Path, work: Path
) -> None:
    model = located("x.safetensors", hostile_world, URL.format(6), urls=(URL.format("gone"), URL.format(6)))
    outcome = run_script(script(format_name, [model], tmp_path), work, hub)
    assert outcome.returncode == 0, outcome.stderr
    assert os.listdir(work / "models" / "loras") == ["x.safetensors"]


def test_bash_words_are_what_they_were() -> None:
    for name in (*HOSTILE, ""):
        printed = subprocess.run(
            ["bash", "-c", f"printf '%s' {in_bash(name)}"], capture_output=True, check=True, timeout=10
        )
        assert printed.stdout.decode() == name


def powershell_value(expression: str) -> str:
    """What PowerShell makes of an expression of our form; anything else is an error.

    By its rules: in single quotes ``''`` is one, and of all other characters only the four curly quotes,
    which are not ASCII, mean anything.
    """
    literal = r"'((?:[\x20-\x26\x28-\x7e]|'')*)'"
    if whole := re.fullmatch(literal, expression):
        return whole[1].replace("''", "'")
    joined = re.fullmatch(r"\(-join @\((.*)\)\)", expression)
    assert joined is not None, expression
    units = b""
    rest = joined[1]
    while rest:
        piece = re.match(rf"(?:{literal}|\[char\]0x([0-9A-F]{{4}}))(?:, |$)", rest)
        assert piece is not None, rest
        if piece[2] is not None:
            units += bytes.fromhex(piece[2])
        else:
            units += piece[1].replace("''", "'").encode("utf-16-be")
        rest = rest[piece.end() :]
    return units.decode("utf-16-be")


def test_powershell_words_are_what_they_were_and_all_of_it_is_ascii(hostile_world: World) -> None:
    for name in (*HOSTILE, ""):
        assert in_powershell(name).isascii()
        assert powershell_value(in_powershell(name)) == name
    models = [located(name, hostile_world, URL.format(0)) for name in HOSTILE]
    text = export("powershell", models, (), POLICY).text
    assert text.isascii()
    calls = [line for line in text.splitlines() if line.startswith("Get-Model ")]
    assert len(calls) == len(HOSTILE)
    assert all(in_powershell(f"loras/{name}") in text for name in HOSTILE)


def test_aria2_reads_each_value_to_the_end_of_its_line(hostile_world: World) -> None:
    models = [located(name, hostile_world, URL.format(0)) for name in FOR_ARIA2]
    text = export("aria2", models, (), POLICY).text
    entries = [line for line in text.split("\n") if line and not line.startswith(("#", " "))]
    assert [line.split("\t") for line in entries] == [[URL.format(0)]] * len(FOR_ARIA2)
    places = re.findall(r"^ dir=models/(.*)\n out=(.*)\n checksum=sha-256=[0-9a-f]{64}$", text, re.MULTILINE)
    assert [f"{directory}/{name}" for directory, name in places] == [f"loras/{name}" for name in FOR_ARIA2]


def test_aria2_fetches_it(hostile_world: World, hub: Hub, tmp_path: Path, work: Path) -> None:
    models = [located(name, hostile_world, URL.format(index)) for index, name in enumerate(FOR_ARIA2)]
    text = export("aria2", models, (), POLICY).text.replace("https://huggingface.co", hub.endpoint)
    (tmp_path / "list").write_bytes(text.encode())
    outcome = run_script(["aria2c", "-c", "-i", str(tmp_path / "list"), "--no-conf"], work, hub)
    assert outcome.returncode == 0, outcome.stdout
    found = {
        path.relative_to(work / "models" / "loras").as_posix() for path in work.rglob("*") if path.is_file()
    }
    assert found == {model.name for model in models}


def test_aria2_leaves_out_what_it_cannot_keep_apart(hostile_world: World) -> None:
    models = [
        located("x.safetensors", hostile_world, URL.format(0), needs="token"),
        located("${HOME}.safetensors", hostile_world, URL.format(1)),
    ]
    exported = export("aria2", models, (), POLICY)
    assert [left.code for left in exported.left_out] == ["TOKEN_NEEDED", "NAME_UNSAFE"]
    assert "https://" not in exported.text


def test_remarks_cannot_leave_their_comment() -> None:
    problem = ErrorBody(code="NOT_FOUND", message="first\nrm -rf /\r\u2028touch")
    for format_name in ("bash", "powershell", "python", "aria2"):
        text = export(format_name, [Located("loras", "a.safetensors", problem=problem)], (), POLICY).text
        (line,) = (line for line in re.split(r"[\r\n\u2028]", text) if "touch" in line)
        assert line.startswith("# Left out: loras/a.safetensors: first rm -rf / ")


def test_json_says_where_each_file_goes(hostile_world: World) -> None:
    model = located("style/x.safetensors", hostile_world, URL.format(0), needs="licence")
    (file,) = json.loads(export("json", [model], (), POLICY).text)["files"]
    assert (file["path"], file["url"], file["token"]) == (
        "models/loras/style/x.safetensors",
        URL.format(0),
        "HF_TOKEN",
    )


@pytest.mark.parametrize(
    ("folder", "name", "url", "code"),
    [
        ("custom_nodes", "x.safetensors", URL.format(0), "FOLDER_UNKNOWN"),
        ("../loras", "x.safetensors", URL.format(0), "FOLDER_UNKNOWN"),
        ("loras", "../x.safetensors", URL.format(0), "NAME_UNSAFE"),
        ("loras", "x.sh", URL.format(0), "EXTENSION_NOT_ALLOWED"),
        ("loras", "x.safetensors", "file:///etc/passwd", "URL_SCHEME"),
        ("loras", "x.safetensors", "https://evil.example/x", "URL_HOST_NOT_ALLOWED"),
    ],
)
def test_what_is_not_downloaded_here_is_not_exported(folder: str, name: str, url: str, code: str) -> None:
    exported = export("bash", [Located(folder, name, urls=(url,))], (), POLICY)
    assert ([left.code for left in exported.left_out], exported.files) == ([code], 0)
    assert "\nfetch " not in exported.text.replace("\nfetch() {", "")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        parse_format("exe")
    assert caught.value.code == "BAD_FORMAT"


def test_the_python_script_parses_and_holds_the_names_as_data(hostile_world: World) -> None:
    models = [located(name, hostile_world, URL.format(0)) for name in HOSTILE]
    text = export("python", models, (), POLICY).text
    assert text.isascii()
    (files,) = (
        ast.literal_eval(statement.value)
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "FILES"
    )
    assert [file[0] for file in files] == [f"loras/{name}" for name in HOSTILE]


def test_the_command_writes_each_format_with_real_urls(tmp_path: Path) -> None:
    root = tmp_path / "ComfyUI"
    (root / "models").mkdir(parents=True)
    arguments = ("export", str(EXAMPLE), "--comfyui-root", str(root), "--format")
    with running_hub(World.for_workflow(EXAMPLE)) as hub:
        for format_name in FORMATS:
            outcome = run(*arguments, format_name, hub=hub)
            assert outcome.returncode == 0, outcome.stderr
            assert outcome.stdout.count("/resolve/") == 4
        assert len(decode_lock(outcome.stdout.encode(), "it").models) == 4
        (told,) = lines(run(*arguments, "bash", "--json", hub=hub))
        assert (told["files"], told["left_out"], told["output"]) == (4, [], None)
        output = tmp_path / "get.sh"
        for status in (0, 2):
            outcome = run(*arguments, "bash", "-o", str(output), hub=hub)
            assert outcome.returncode == status, "an existing file is not overwritten"
        assert "FILE_EXISTS" in outcome.stderr
        outcome = run_script(["bash", str(output), str(root)], CHECKOUT, hub)
        assert outcome.returncode == 0, outcome.stderr
        nothing, everything = (
            lines(run(*arguments, "json", "--json", *more, hub=hub))[0]["files"] for more in ([], ["--all"])
        )
        assert (nothing, everything) == (0, 4)
    wrong = run(*arguments, "exe")
    assert (wrong.returncode, "BAD_FORMAT" in wrong.stderr) == (2, True)
