"""Tests of the values of cells: what is accepted, and that written files read back unchanged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from models.audiences.transfer import cleaning, detection, records, writing
from models.audiences.transfer.cleaning import BadValue, Conventions, cleaner_of
from models.core import emails, texts

SPANISH = Conventions(region="ES", decimal_comma=True)


@pytest.mark.parametrize(
    ("field", "kind", "cell", "value"),
    [
        ("email", "text", " Ana.Paz@Bücher.ejemplo.es ", "ana.paz@xn--bcher-kva.ejemplo.es"),
        ("email", "text", "MAILTO:ana+x@correo.es", "ana+x@correo.es"),
        ("phone", "text", "600 11 22 33", "+34600112233"),
        ("phone", "text", "0049 30 901820", "+4930901820"),
        ("name", "text", "  Ana \n Paz ", "Ana Paz"),
        ("country", "text", "es", "ES"),
        ("locale", "text", "es_mx", "es-MX"),
        ("birth_date", "date", "3/4/1990", "1990-04-03"),
        ("lat", "number", "40,4168", 40.4168),
        ("tags", "list", r"vip, Sur; vip|a\,b", ["vip", "Sur", "a,b"]),
        ("properties.n", "number", "1,0", 1),
        ("properties.b", "boolean", "Sí", True),
        ("properties.b", "boolean", False, False),
        ("properties.d", "date", "2024-02-29", "2024-02-29"),
        ("properties.t", "datetime", "2024-02-29T10:00:00+02:00", "2024-02-29T08:00:00Z"),
        ("properties.t", "datetime", "29.02.2024", "2024-02-29T00:00:00Z"),
        ("properties.x", "text", "one\r\ntwo", "one\ntwo"),
    ],
)
def test_cell_is_converted_to_the_value_of_its_field(field, kind, cell, value):
    cleaned = cleaner_of(field, kind)(cell, SPANISH)

    assert (cleaned, type(cleaned)) == (value, type(value))


@pytest.mark.parametrize(
    ("field", "kind", "cell", "reason"),
    [
        ("companon_id", "text", "7", "bad_id"),
        ("email", "text", "ana@", "bad_email"),
        ("email", "text", "a@x.es, b@x.es", "bad_email"),
        ("phone", "text", "12", "bad_phone"),
        ("phone", "text", "600 11 22 33 ext. 4", "bad_phone"),
        ("name", "text", "\u200b", "bad_text"),
        ("name", "text", "n" * 201, "too_long"),
        ("country", "text", "Spain", "bad_country"),
        ("locale", "text", "¿?", "bad_locale"),
        ("birth_date", "date", "31/2/1990", "bad_date"),
        ("birth_date", "date", "1890-01-01", "out_of_range"),
        ("lat", "number", "91", "out_of_range"),
        ("tags", "list", ",".join(map(str, range(101))), "too_many_values"),
        ("tags", "list", "t" * 101, "too_long"),
        ("tags", "list", [{}], "bad_text"),
        ("properties.n", "number", "1.234,5", "bad_number"),
        ("properties.n", "number", "nan", "bad_number"),
        ("properties.n", "number", True, "bad_number"),
        ("properties.n", "number", float("inf"), "out_of_range"),
        ("properties.b", "boolean", "maybe", "bad_boolean"),
        ("properties.d", "date", "next week", "bad_date"),
        ("properties.t", "datetime", "25:00", "bad_datetime"),
        ("properties.x", "text", "x" * 1001, "too_long"),
        ("properties.x", "text", "a\u202eb", "bad_text"),
    ],
)
def test_cell_of_another_type_is_refused_with_the_reason(field, kind, cell, reason):
    with pytest.raises(BadValue) as refused:
        cleaner_of(field, kind)(cell, SPANISH)

    assert refused.value.reason == reason


def test_phone_number_without_country_code_needs_a_region():
    with pytest.raises(BadValue):
        cleaner_of("phone", "text")("600112233", Conventions())

    assert cleaner_of("phone", "text")("+34 600 112 233", Conventions()) == "+34600112233"


@given(st.text(st.sampled_from("ab9_+-.@"), max_size=6).map(lambda part: f"a{part}b@a{part}b.es"))
@settings(max_examples=60, deadline=None)
def test_quick_check_of_addresses_accepts_what_the_full_check_accepts(address):
    try:
        expected = emails.canonical(address)
    except ValueError:
        expected = None

    try:
        found = cleaner_of("email", "text")(address, SPANISH)
    except BadValue:
        found = None

    assert found == expected


@given(st.text(st.sampled_from("aÁ1 \t\u00a0\u115f\u0301\u200b.ñ"), max_size=5))
@settings(max_examples=60, deadline=None)
def test_quick_check_of_lines_accepts_only_texts_in_their_stored_form(text):
    if cleaning._is_plain_line(text):
        assert texts.line(text) == text


TEXTS = st.text(st.sampled_from("ab'=+-@,;|\\\"\n\t ñ＝1.\u00a0"), max_size=8) | st.text(max_size=20)
FIELDS = {"name": "text", "tags": "list", "properties.n": "number", "properties.b": "boolean", "properties.x": "text"}
VALUES = {
    "text": TEXTS,
    "list": st.lists(TEXTS, max_size=4),
    "number": st.floats(-1e15, 1e15) | st.integers(-(10**15), 10**15),
    "boolean": st.booleans(),
}


def _clean(field, kind, value):
    """Return the value as it would be stored, or None."""
    if value is None or cleaning.is_empty(value):
        return None
    try:
        cleaned = cleaner_of(field, kind)(value, Conventions())
    except BadValue:
        return None
    return None if cleaning.is_empty(cleaned) else cleaned


@given(st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in FIELDS.values())), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_written_rows_are_read_back_unchanged(tmp_path_factory, drawn):
    stored = [[_clean(*field, value) for field, value in zip(FIELDS.items(), row, strict=True)] for row in drawn]
    stored = [[f"n{number}", *row[1:]] for number, row in enumerate(stored)]
    for kind in ("csv", "jsonl"):
        path = tmp_path_factory.mktemp("written") / "file"
        with writing.writer(kind, path, FIELDS) as written:
            written.write(stored)

        layout = detection.Layout(kind, "utf-8", 3 if kind == "csv" else 0, False, ",", tuple(FIELDS))

        found = []
        for record in records.Table(path, layout).rows():
            assert record.fault is None
            cells = [cleaning.unescape_formula(one) if kind == "csv" else one for one in record.cells]
            found.append([_clean(*field, one) for field, one in zip(FIELDS.items(), cells, strict=True)])
        assert found == stored


@pytest.mark.parametrize("text", ["=1+1", "+x", "-2+3", "@SUM(A1)", "\tx", "'=x", "''@x", "＝1"])
def test_text_that_a_spreadsheet_would_run_is_written_with_an_apostrophe(text):
    assert writing.cell(text) == f"'{text}"
    assert cleaning.unescape_formula(writing.cell(text)) == text


@pytest.mark.parametrize("value", ["+34600112233", "-5", "it's", "'quoted'", -5, 1.5])
def test_numbers_and_ordinary_texts_are_written_as_they_are(value):
    assert writing.cell(value) == str(value)


def test_parquet_file_has_typed_columns_and_a_row_group_per_batch(tmp_path):
    path = tmp_path / "file"
    with writing.writer("parquet", path, FIELDS) as written:
        written.write([["Ana", ["a", "b"], 1, True, "=x"]])
        written.write([[None, None, 1.5, None, None]])
        written.write([])

    found = parquet.ParquetFile(path)
    assert found.num_row_groups == 2
    assert found.read().to_pylist() == [
        {"name": "Ana", "tags": ["a", "b"], "properties.n": 1.0, "properties.b": True, "properties.x": "=x"},
        {"name": None, "tags": None, "properties.n": 1.5, "properties.b": None, "properties.x": None},
    ]
