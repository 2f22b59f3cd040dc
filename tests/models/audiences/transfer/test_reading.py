"""Tests of the detection of layouts and of the reader of rows."""

import codecs

import pytest

from models.audiences.transfer import detection, records
from models.audiences.transfer.detection import FileUnreadable
from models.audiences.transfer.mapping import suggest

FIELDS = ("external_id", "email", "phone", "name", "city", "birth_date", "properties.size")


@pytest.fixture
def table(tmp_path):
    def build(content, kind="csv"):
        path = tmp_path / f"{abs(hash(content))}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        layout = detection.detect(path, kind)
        return layout, records.Table(path, layout)

    return build


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-16-le", b""),
        ("utf-32-le", codecs.BOM_UTF32_LE),
        ("latin-1", b""),
        ("cp1252", b""),
    ],
)
def test_text_in_any_encoding_is_read_with_its_accents(table, encoding, mark):
    rows = "nombre;ciudad\r\nBegoña Núñez;Córdoba\r\nIñaki Gómez;Málaga\r\nAndrés Peña;León\r\n"

    layout, found = table(mark + rows.encode(encoding))

    assert layout.columns == ("nombre", "ciudad")
    assert [row.cells for row in found.rows()] == [
        ["Begoña Núñez", "Córdoba"],
        ["Iñaki Gómez", "Málaga"],
        ["Andrés Peña", "León"],
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_detected_in_spite_of_others_within_cells(table, delimiter):
    lines = [delimiter.join(("email", "name", "note"))]
    lines += [delimiter.join((f"{n}@x.example", '"Paz, Ana; |"', '"a,b;c"')) for n in range(5)]

    layout, found = table("\n".join(lines))

    assert layout.delimiter == delimiter
    assert [row.cells[1] for row in found.rows()] == ["Paz, Ana; |"] * 5


def test_line_ends_within_quotation_marks_stay_in_one_row(table):
    _, found = table('email,name\r\na@x.example,"Ana\r\nPaz\nRuiz"\r\nb@x.example,Eva\r\n')

    assert [row.cells for row in found.rows()] == [["a@x.example", "Ana\r\nPaz\nRuiz"], ["b@x.example", "Eva"]]


def test_line_ends_of_old_computers_separate_rows(table):
    _, found = table("email,name\ra@x.example,Ana\rb@x.example,Eva\r")

    assert [row.cells[1] for row in found.rows()] == ["Ana", "Eva"]


def test_rows_with_faults_do_not_cost_the_rows_after_them(table):
    rows = [
        b"email,name",
        "1@x.example,Íñigo Núñez".encode(),
        b"2@x.example",
        b"3@x.example,Eva,more",
        b"4@x.example,Paz,,",
        b"5@x.example,N\x00l",
        b"6@x.example,\xff\xfe",
        b'7@x.example,"never closed',
        b'8@x.example,"closed"too early',
        b"9@x.example," + b"x" * 500_000,
        b"",
        b"10@x.example,Ana",
    ]

    _, found = table(b"\n".join(rows))

    assert [(row.number, row.fault) for row in found.rows()] == [
        (1, None),
        (2, "wrong_number_of_cells"),
        (3, "wrong_number_of_cells"),
        (4, None),
        (5, "nul_character"),
        (6, "not_text"),
        (7, "bad_quotation_marks"),
        (8, "bad_quotation_marks"),
        (9, "row_too_long"),
        (10, None),
    ]


def test_json_lines_with_faults_do_not_cost_the_rows_after_them(table):
    lines = [
        '{"email": "1@x.example", "tags": ["a"]}',
        '{"email": "2@x.example", "size": 4.5}',
        "[1]",
        "{",
        '{"email": "n\\u0000l"}',
        "{" + " " * 400_000 + "}",
        "",
        '{"email": "7@x.example"}',
    ]

    layout, found = table("\n".join(lines), "jsonl")

    read = list(found.rows())
    assert layout.columns == ("email", "tags", "size")
    assert [row.fault for row in read] == [None, None, "bad_json", "bad_json", "nul_character", "row_too_long", None]
    assert [read[0].cells, read[1].cells, read[6].cells] == [
        ["1@x.example", ["a"], None],
        ["2@x.example", None, 4.5],
        ["7@x.example", None, None],
    ]


@pytest.mark.parametrize(("kind", "line"), [("csv", '{n}@x.example,"Ana\n{n}"'), ("jsonl", '{{"email":"ñ{n}"}}')])
def test_reading_from_any_position_continues_with_the_next_row(table, kind, line):
    head = codecs.BOM_UTF8 + (b"email,name\n" if kind == "csv" else b"")
    _, found = table(head + "\n".join(line.format(n=n) for n in range(20)).encode(), kind)

    rows = list(found.rows())

    assert [row.fault for row in rows] == [None] * 20
    for row in rows:
        assert list(found.rows(position=row.end, number=row.number)) == rows[row.number :]


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"", "csv", "empty_file"),
        (codecs.BOM_UTF16_LE, "csv", "empty_file"),
        (b"\n \n", "csv", "empty_file"),
        (b";;\na;b;c", "csv", "no_columns"),
        (b"[1]\n", "jsonl", "no_columns"),
        (b",".join([b"x"] * 501), "csv", "too_many_columns"),
    ],
)
def test_file_without_usable_columns_is_refused_with_the_reason(table, content, kind, reason):
    with pytest.raises(FileUnreadable) as refused:
        table(content, kind)

    assert refused.value.reason == reason


def test_repeated_and_missing_column_names_become_unique(table):
    layout, _ = table("name,name,,name (2)\nA,B,C,D\n")

    assert layout.columns == ("name", "name (3)", "column 3", "name (2)")


def test_columns_are_suggested_by_english_and_spanish_names():
    columns = (
        "ID cliente",
        "Correo electrónico",
        "E-Mail",
        "TELÉFONO",
        "Nombre y apellidos",
        "Talla",
        "DOB",
        "?",
    )

    assert suggest(columns, FIELDS, {"properties.size": "Talla"}) == {
        "ID cliente": "external_id",
        "Correo electrónico": "email",
        "E-Mail": None,
        "TELÉFONO": "phone",
        "Nombre y apellidos": "name",
        "Talla": "properties.size",
        "DOB": "birth_date",
        "?": None,
    }
