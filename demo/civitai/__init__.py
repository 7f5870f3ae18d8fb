"""Civitai's host: its API and its downloads, over what ``catalog`` says there is.

``api`` has the list of routes; the rest is one concept a file. The reference:
https://developer.civitai.com/site/reference/.
"""
