"""Kinds of notifications: their texts in each language, and whether they are mailed by default.

A `$name` in a text is replaced by the value that `notify` was called with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Annotated, Literal

from models.core.enumerations import enumeration, values_of

Kind = Annotated[
    Literal[
        "launch_finished",
        "launch_failed",
        "limit_near",
        "case_waiting",
        "import_finished",
        "payment_failed",
        "service_down",
        "webhook_disabled",
        "rewards_low",
    ],
    enumeration(
        "NotificationKind",
        "Kind of event. `limit_near`: 90 % of a campaign's scans are used. `case_waiting`: a suspicious scan waits for "
        "a decision. `rewards_low`: few rewards are left.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""

KINDS: tuple[Kind, ...] = values_of(Kind)

LANGUAGES = ("en", "es")
"""Languages of the texts; the first one is for readers of other languages."""


@dataclass(frozen=True, slots=True)
class Text:
    """Title and sentence of a notification in one language."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Wording:
    """Texts of a kind by language, and whether it is mailed to people who have not chosen."""

    mail: bool
    en: Text
    es: Text

    def text(self, language: str) -> Text:
        """Return the text in a language of `LANGUAGES`."""
        return self.es if language == "es" else self.en

    def names(self) -> frozenset[str]:
        """Return the names of the values that the texts contain."""
        texts = (part for text in (self.en, self.es) for part in (text.title, text.body))
        return frozenset(name for text in texts for name in Template(text).get_identifiers())


WORDINGS: Mapping[Kind, Wording] = {
    "launch_finished": Wording(
        mail=False,
        en=Text("$campaign is active", "The campaign $campaign has been launched. Scans of its codes count now."),
        es=Text("$campaign está activa", "La campaña $campaign se ha lanzado. Los escaneos de sus códigos ya cuentan."),
    ),
    "launch_failed": Wording(
        mail=True,
        en=Text("$campaign was not launched", "The launch of the campaign $campaign has failed: $reason"),
        es=Text("$campaign no se ha lanzado", "El lanzamiento de la campaña $campaign ha fallado: $reason"),
    ),
    "limit_near": Wording(
        mail=True,
        en=Text("$campaign is near its limit", "The campaign $campaign has used $used of $limit scans."),
        es=Text("$campaign se acerca a su límite", "La campaña $campaign ha usado $used de $limit escaneos."),
    ),
    "case_waiting": Wording(
        mail=False,
        en=Text("A scan waits for a decision", "A suspicious scan of the campaign $campaign waits for a decision."),
        es=Text("Un escaneo espera una decisión", "Un escaneo sospechoso de la campaña $campaign espera una decisión."),
    ),
    "import_finished": Wording(
        mail=False,
        en=Text("$file is imported", "The import of $file has ended: $imported rows imported, $refused rows refused."),
        es=Text(
            "$file se ha importado",
            "La importación de $file ha terminado: $imported filas importadas, $refused filas rechazadas.",
        ),
    ),
    "payment_failed": Wording(
        mail=True,
        en=Text("A payment has failed", "The payment of $amount has failed. Check the payment method."),
        es=Text("Un pago ha fallado", "El pago de $amount ha fallado. Comprueba el método de pago."),
    ),
    "service_down": Wording(
        mail=True,
        en=Text("$service does not respond", "Calls of the service $service fail. They are repeated automatically."),
        es=Text("$service no responde", "Las llamadas al servicio $service fallan. Se repiten automáticamente."),
    ),
    "webhook_disabled": Wording(
        mail=True,
        en=Text(
            "A webhook endpoint is disabled",
            "Deliveries to $url have failed for too long, so the endpoint is disabled. Enable it when it works again.",
        ),
        es=Text(
            "Un destino de webhooks está desactivado",
            "Los envíos a $url han fallado demasiado tiempo y el destino se ha desactivado. Actívalo cuando funcione.",
        ),
    ),
    "rewards_low": Wording(
        mail=True,
        en=Text("$reward is nearly gone", "The campaign $campaign has $left of the reward $reward left."),
        es=Text("Quedan pocas unidades de $reward", "A la campaña $campaign le quedan $left de la recompensa $reward."),
    ),
}
"""Every kind."""


def render(kind: Kind, language: str, values: Mapping[str, str | int]) -> Text:
    """Return the text of a notification in a language of `LANGUAGES`."""
    text = WORDINGS[kind].text(language)
    return Text(Template(text.title).safe_substitute(values), Template(text.body).safe_substitute(values))
