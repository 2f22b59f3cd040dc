"""Types of text fields that structs of several layers use."""

from typing import Annotated

import msgspec

from models.core import texts
from models.core.messages import NORMALISE

Text200 = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=texts.MAX_LINE_CHARACTERS,
        description="One line with a visible character. Stored in NFC and trimmed, each run of blanks as one space.",
        extra_json_schema={"pattern": rf"^[^{texts.UNSAFE}]*\S[^{texts.UNSAFE}]*$"},
        extra={NORMALISE: texts.line},
    ),
]
Text100 = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=100,
        description="One line with a visible character. Stored in NFC and trimmed, each run of blanks as one space.",
        extra_json_schema={"pattern": rf"^[^{texts.UNSAFE}]*\S[^{texts.UNSAFE}]*$"},
        extra={NORMALISE: texts.line},
    ),
]
