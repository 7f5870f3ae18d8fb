"""What a model file is *for*, read from its name: family, size, version, task, precision, …

Names that look alike can be different things: ``wan2.2_i2v_high_noise_14B`` and ``…_low_noise_14B`` differ in
three letters and cannot stand in for each other, while ``t5xxl_fp16.safetensors`` and
``t5-v1_1-xxl-encoder-Q8_0.gguf`` share few letters and are one model at two precisions. So names are not
compared by letters. A name is cut into roles (what we know a word to mean), packing (how the same weights are
stored) and words (the rest), and then *everything but the packing must agree*. A word we do not know makes a
difference: a substitute not offered costs a download, a wrong one costs the user's trust.

Because agreement is equality, an index finds substitutes by dictionary lookup, not by measuring distances to
every file; that is why no string-distance library is needed here.

Pure: no I/O. The tables in ``words.py`` were read off the file names in the official workflow templates
(``properties.models``), ComfyUI Manager's ``model-list.json`` and public repositories; where a pattern has a
rule of its own, the rule is named beside it.
"""

from .compare import Match, RoleIndex, Verdict, compare, similarity
from .parse import Roles, directory_families, parse_roles, tells_nothing
from .words import Role

__all__ = [
    "Match",
    "Role",
    "RoleIndex",
    "Roles",
    "Verdict",
    "compare",
    "directory_families",
    "parse_roles",
    "similarity",
    "tells_nothing",
]
