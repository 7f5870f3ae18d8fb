"""ComfyUI Model Resolver: what ComfyUI loads.

Does almost nothing at import time: it names the page's files and the nodes, and registers routes that
load the engine when first called.
"""

WEB_DIRECTORY = "./web/js"

# Test runners and type checkers may import this file outside of ComfyUI, as a plain module.
if __package__:
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from .server_routes import register

    register()

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
