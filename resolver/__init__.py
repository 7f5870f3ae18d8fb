"""The engine of ComfyUI Model Resolver.

One line of data: workflow -> references -> library -> sources -> candidates -> downloads -> library.
Nothing to the left imports what is to its right; ``app.py`` puts the parts together.

Importing this package loads nothing else, so that ComfyUI starts as fast with it as without.
"""

__version__ = "0.1.0"
