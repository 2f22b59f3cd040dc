"""Survey of a campaign: its questions in several languages."""

from typing import Annotated

from msgspec import Meta, Struct

from models.core.messages import REASON, Message
from models.core.text_fields import Text200

Key = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[a-z][a-z0-9_-]*$(?!\n)",
        description="Key for programs: a letter, then a to z, digits, hyphens and underscores.",
        examples=["taste"],
        extra={REASON: Message("must begin with a letter, and have only a to z, digits, hyphens and underscores")},
    ),
]
Language = Annotated[
    str,
    Meta(
        max_length=16,
        pattern=r"^[a-z]{2,3}(-([A-Z]{2}|[0-9]{3}))?$(?!\n)",
        description="Language, and region if it matters (BCP 47).",
        examples=["es", "es-MX"],
        extra={REASON: Message("must be a language with or without a region, such as es or es-MX")},
    ),
]
Texts = Annotated[
    dict[Language, Text200],
    Meta(
        min_length=1,
        max_length=20,
        description="Text by language. All texts of a survey have the same languages.",
        examples=[{"es": "¿Te ha gustado?", "en": "Did you like it?"}],
    ),
]


class Option(Struct, frozen=True, forbid_unknown_fields=True):
    """A possible answer."""

    id: Annotated[Key, Meta(description="Key of the option, unique in its question.", examples=["churros"])]
    text: Annotated[Texts, Meta(description="Text of the option by language.")]


class _Question(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    id: Annotated[
        Key,
        Meta(
            description="Key of the question, unique in the survey. Answers refer to it: a question with another "
            "meaning needs another key.",
            examples=["taste"],
        ),
    ]
    text: Annotated[Texts, Meta(description="Text of the question by language.")]
    required: Annotated[bool, Meta(description="Whether an answer must contain it. Default: false.")] = False


class ChoiceQuestion(_Question, frozen=True, kw_only=True, tag="choice"):
    """A question with listed answers."""

    options: Annotated[list[Option], Meta(min_length=2, max_length=20, description="Possible answers, in this order.")]
    multiple: Annotated[bool, Meta(description="Whether several options may be chosen. Default: false.")] = False


class RatingQuestion(_Question, frozen=True, kw_only=True, tag="rating"):
    """A question whose answer is a whole number."""

    lowest: Annotated[int, Meta(ge=0, le=1, description="Lowest answer. Default: 1.", examples=[1])] = 1
    highest: Annotated[int, Meta(ge=2, le=10, description="Highest answer. Default: 5.", examples=[5])] = 5


class TextQuestion(_Question, frozen=True, kw_only=True, tag="text"):
    """A question whose answer is a text."""

    max_length: Annotated[
        int, Meta(ge=1, le=2000, description="Maximum length of the answer in characters. Default: 500.")
    ] = 500


Question = ChoiceQuestion | RatingQuestion | TextQuestion


class Survey(Struct, frozen=True, forbid_unknown_fields=True):
    """Questions to fans after a scan."""

    questions: Annotated[list[Question], Meta(min_length=1, max_length=30, description="Questions, in this order.")]
