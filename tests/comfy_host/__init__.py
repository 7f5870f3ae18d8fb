"""A stand-in for the ComfyUI server that serves ComfyUI's real frontend. See README.md."""
