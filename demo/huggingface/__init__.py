"""Hugging Face's host: its API and its file URLs, over one world.

``api`` has the list of routes; the rest is one concept a file. Endpoints:
https://huggingface.co/docs/hub/en/api and https://huggingface.co/.well-known/openapi.json. What a
client reads out of the answers:
https://huggingface.co/docs/huggingface_hub/package_reference/hf_api.
"""
