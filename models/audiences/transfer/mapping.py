"""Map the columns of a file to the fields of contacts, by their names in English and Spanish."""

from collections.abc import Iterable, Mapping

from models.core.texts import folded

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "external_id": (
        *("external id", "id", "contact id", "customer id", "client id", "customer number", "crm id", "member id"),
        *("id externo", "id cliente", "id de cliente", "numero de cliente", "codigo cliente", "codigo de cliente"),
        *("id contacto", "id de contacto", "referencia", "n cliente", "no cliente"),
    ),
    "email": (
        *("email", "e mail", "email address", "e mail address", "mail", "primary email", "contact email"),
        *("correo", "correo electronico", "direccion de correo", "direccion de correo electronico"),
        *("direccion de email", "email principal", "correo e"),
    ),
    "phone": (
        *("phone", "phone number", "mobile", "mobile phone", "mobile number", "cell", "cell phone", "telephone", "tel"),
        *("telefono", "numero de telefono", "movil", "telefono movil", "celular", "tfno", "tlf", "whatsapp"),
    ),
    "name": (
        *("name", "full name", "contact name", "display name", "customer name", "customer", "contact"),
        *("nombre", "nombre completo", "nombre y apellidos", "nombre del contacto", "nombre cliente", "contacto"),
    ),
    "locale": ("locale", "language", "preferred language", "lang", "idioma", "lengua", "idioma preferido"),
    "country": ("country", "country code", "country region", "pais", "codigo de pais", "codigo pais"),
    "city": ("city", "town", "city name", "ciudad", "poblacion", "localidad", "municipio"),
    "birth_date": (
        *("birth date", "birthdate", "birthday", "date of birth", "dob", "birth day"),
        *("fecha de nacimiento", "fecha nacimiento", "nacimiento", "cumpleanos", "f nacimiento"),
    ),
    "lat": ("lat", "latitude", "latitud"),
    "lon": ("lon", "lng", "long", "longitude", "longitud"),
    "tags": ("tags", "tag", "labels", "groups", "etiquetas", "etiqueta", "grupos"),
    "source": ("source", "lead source", "origin", "origen", "fuente", "procedencia"),
    "consent.marketing": (
        *("consent marketing", "marketing consent", "subscribed", "opt in", "newsletter", "email opt in"),
        *("accepts marketing", "email marketing", "suscrito", "consentimiento", "consentimiento marketing"),
        *("acepta publicidad", "acepta marketing", "boletin", "publicidad"),
    ),
}
"""Names of columns by field, in the form of `texts.folded`."""


def suggest(columns: Iterable[str], fields: Iterable[str], labels: Mapping[str, str]) -> dict[str, str | None]:
    """Return the field of each column, or None. No field is suggested twice: the first column that fits gets it.

    Args:
        columns: names of the columns.
        fields: the fields that may be imported.
        labels: labels of the brand's properties by field (`properties.size`).
    """
    known = _names_of(list(fields), labels)
    suggested: dict[str, str | None] = {}
    taken: set[str] = set()
    for column in columns:
        found = known.get(folded(column))
        suggested[column] = found if found is not None and found not in taken else None
        if found is not None:
            taken.add(found)
    return suggested


def _names_of(fields: list[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Return the field of each folded name. A field's own name counts before labels, and those before synonyms."""
    known: dict[str, str] = {}
    for field in fields:
        known.setdefault(folded(field), field)
    for field in fields:
        if field in labels:
            known.setdefault(folded(labels[field]), field)
        known.setdefault(folded(field.partition(".")[2] or field), field)
    for field in fields:
        for name in SYNONYMS.get(field, ()):
            known.setdefault(name, field)
    return known
