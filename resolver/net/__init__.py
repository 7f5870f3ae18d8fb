"""The way out: which URLs are fetched, by which client, and what a failure means.

Every room that talks to another machine does it through here, so that the rules on hosts, redirects
and tokens hold in one place. ``policy`` decides, ``client`` sends, ``probe`` asks what a URL holds,
``faults`` turns answers into errors with codes.
"""
