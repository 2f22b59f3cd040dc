"""Test the offline gazetteer: names in any spelling, countries, ambiguous and unknown addresses."""

import pytest

from models.passport import gazetteer


@pytest.mark.parametrize(
    ("address", "country", "expected"),
    [
        ("Pasadizo de San Ginés 5, 28013 Madrid, España", None, [("Madrid", "ES")]),
        ("a CORUNA", None, [("A Coruña", "ES")]),
        ("guadalajara, Méjico", "MX", [("Guadalajara", "MX")]),
        ("Guadalajara", None, [("Guadalajara", "MX"), ("Guadalajara", "ES")]),
        ("Plaza Mayor San Sebastián de los Reyes", "ES", [("San Sebastián de los Reyes", "ES")]),
        ("Calle Real 3, Nowhereville", None, []),
        ("12345", None, []),
    ],
)
def test_address_names_the_expected_cities(address, country, expected):
    found = gazetteer.find(address, country, 5)

    assert [(city.name, city.country) for city in found][: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_city_has_the_position_of_its_centre():
    (madrid,) = gazetteer.find("Madrid, ES", None, 5)

    assert (round(madrid.lat, 1), round(madrid.lon, 1)) == (40.4, -3.7)
