"""HTTP in, service call, HTTP out. ``table.py`` lists the routes and imports nothing else, so that
ComfyUI can register them at start for nothing; ``handlers.py`` holds what they do; ``guard.py``
decides who may call."""
