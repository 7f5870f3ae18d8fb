"""The queue behind `POST /prompt`, and a plain executor for what is in it.

Core's loaders and samplers are stand-ins that compute nothing, but the nodes of a pack under test
really run, on a worker thread as in core, with the same websocket messages; that is enough to try
a node such as "Ensure Models" in a headless prompt.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import queue
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import nodes
from comfy_api.latest import io

if TYPE_CHECKING:
    from server import PromptServer

Item = tuple[float, str, dict[str, Any], dict[str, Any], list[str]]
"""Number (small ones first), prompt id, prompt, extra data, ids of the output nodes to run."""


class PromptQueue:
    """Waiting, running and finished prompts. All methods may be called from any thread."""

    def __init__(self, server: PromptServer) -> None:
        self._server = server
        self._waiting: queue.PriorityQueue[tuple[float, int, Item]] = queue.PriorityQueue()
        self._counter = itertools.count()
        self._lock = threading.Lock()
        self._running: Item | None = None
        self.history: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        threading.Thread(target=self._work, name="prompt-worker", daemon=True).start()

    def put(self, item: Item) -> None:
        self._waiting.put((item[0], next(self._counter), item))
        self._server.queue_updated()

    def get_tasks_remaining(self) -> int:
        return self._waiting.qsize() + (self._running is not None)

    def get_current_queue(self) -> tuple[list[Item], list[Item]]:
        """Running and waiting prompts."""
        with self._lock:
            running = [self._running] if self._running is not None else []
        return running, [entry[2] for entry in list(self._waiting.queue)]

    def get_history(self, prompt_id: str | None = None) -> dict[str, dict[str, Any]]:
        with self._lock:
            if prompt_id is None:
                return dict(self.history)
            return {prompt_id: self.history[prompt_id]} if prompt_id in self.history else {}

    def _work(self) -> None:
        while True:
            _, _, item = self._waiting.get()
            with self._lock:
                self._running = item
            self._server.queue_updated()
            run = PromptRun(self._server, item)
            run.execute()
            with self._lock:
                self._running = None
                self.history[item[1]] = {
                    "prompt": item,
                    "outputs": run.shown,
                    "status": {
                        "status_str": "error" if run.failed else "success",
                        "completed": not run.failed,
                        "messages": run.messages,
                    },
                    "meta": {},
                }
            self._server.send_sync(
                "executing", {"node": None, "prompt_id": item[1]}, item[3].get("client_id")
            )
            self._server.queue_updated()


class PromptRun:
    """One prompt on its way through its nodes, sources first."""

    def __init__(self, server: PromptServer, item: Item) -> None:
        self._server = server
        _, self.prompt_id, self._prompt, self._extra, self._outputs = item
        self._results: dict[str, tuple[Any, ...]] = {}
        self.shown: dict[str, Any] = {}
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.failed = False

    def execute(self) -> None:
        self._tell("execution_start", {})
        self._tell("execution_cached", {"nodes": []})
        for node_id in self._outputs:
            try:
                self._node(node_id)
            except _NodeFailed:
                self.failed = True
                return
        self._tell("execution_success", {})

    def _tell(self, event: str, data: dict[str, Any]) -> None:
        full = {**data, "prompt_id": self.prompt_id, "timestamp": int(time.time() * 1000)}
        self.messages.append((event, full))
        self._server.send_sync(event, full, self._extra.get("client_id"))

    def _node(self, node_id: str) -> tuple[Any, ...]:
        if node_id in self._results:
            return self._results[node_id]
        node = self._prompt[node_id]
        node_class = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
        inputs = {
            name: self._node(value[0])[value[1]] if isinstance(value, list) else value
            for name, value in node["inputs"].items()
        }
        sid = self._extra.get("client_id")
        self._server.send_sync(
            "executing",
            {"node": node_id, "display_node": node_id, "prompt_id": self.prompt_id},
            sid,
        )
        try:
            result, shown = self._call(node_id, node_class, inputs)
        except Exception as reason:
            logging.exception("Node %s (%s) failed", node_id, node["class_type"])
            self._tell(
                "execution_error",
                {
                    "node_id": node_id,
                    "node_type": node["class_type"],
                    "executed": list(self._results),
                    "exception_message": str(reason),
                    "exception_type": _full_name(type(reason)),
                    "traceback": traceback.format_tb(reason.__traceback__),
                    "current_inputs": {k: [str(v)] for k, v in inputs.items()},
                    "current_outputs": list(self._results),
                },
            )
            raise _NodeFailed from reason
        if shown:
            self.shown[node_id] = shown
            self._server.send_sync(
                "executed",
                {
                    "node": node_id,
                    "display_node": node_id,
                    "output": shown,
                    "prompt_id": self.prompt_id,
                },
                sid,
            )
        self._results[node_id] = result
        return result

    def _call(
        self, node_id: str, node_class: Any, inputs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
        hidden = {
            "UNIQUE_ID": node_id,
            "PROMPT": self._prompt,
            "EXTRA_PNGINFO": self._extra.get("extra_pnginfo"),
        }
        for name, kind in node_class.INPUT_TYPES().get("hidden", {}).items():
            word = kind if isinstance(kind, str) else kind[0]
            if word in hidden and not issubclass(node_class, io.ComfyNode):
                inputs[name] = hidden[word]
        target = node_class if issubclass(node_class, io.ComfyNode) else node_class()
        result = getattr(target, node_class.FUNCTION)(**inputs)
        if inspect.isawaitable(result):
            result = asyncio.run(_awaited(result))
        if isinstance(result, io.NodeOutput):
            return result.args, result.ui
        if isinstance(result, dict):
            return tuple(result.get("result", ())), result.get("ui")
        return tuple(result or ()), None


async def _awaited(result: Any) -> Any:
    return await result


def _full_name(kind: type) -> str:
    """As core shows it: a pack's own class with its module, which for a pack is a path."""
    within = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return within + kind.__qualname__


class _NodeFailed(Exception):
    """A node raised; it has been reported, and the prompt ends."""
