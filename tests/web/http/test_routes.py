"""Test that routes are found without a list of modules, and that a mistake in a module is refused with what to do."""

from collections.abc import Callable

import pytest

from web.http.routes import Routes, collect

Collect = Callable[..., Routes]


def resource(permission: str = "public", path: str = "/notes", name: str = "Notes", routed: bool = True) -> str:
    routes = f'[("{path}", {name}())]' if routed else '[("/others", object())]'
    return f"""
from web.http.endpoint import endpoint

class {name}:
    @endpoint(permission="{permission}")
    def on_get(self, req, resp):
        '''List notes.'''

ROUTES = {routes}
"""


@pytest.fixture
def collected(tmp_path, monkeypatch) -> Collect:
    """Return a function that collects the routes of a package with these modules."""

    def collect_from(**modules: str) -> Routes:
        package = f"toy_{tmp_path.name}"
        folder = tmp_path / package
        for name, text in {"__init__": "", **modules}.items():
            file = folder.joinpath(*name.split("__in__")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return collect(package, [str(folder)])

    return collect_from


def test_routes_of_all_modules_are_found_in_order_of_names(collected: Collect) -> None:
    modules = {name: resource(path=f"/{name}") for name in ("zebras", "apples")}
    nested = {"deep__in____init__": "", "deep__in__notes": resource(path="/deep")}

    assert [path for path, _ in collected(**modules, **nested)] == ["/apples", "/deep", "/zebras"]


def test_module_with_underscore_is_a_helper_and_not_imported(collected: Collect) -> None:
    assert len(collected(_helper="raise AssertionError", notes=resource())) == 1


def test_module_without_routes_is_refused_with_what_to_do(collected: Collect) -> None:
    with pytest.raises(TypeError, match=r"/notes\.py declares no routes: add `ROUTES = .*or begin its name with `_`"):
        collected(notes="'''No endpoint.'''")


def test_resource_without_a_route_is_refused_with_what_to_do(collected: Collect) -> None:
    with pytest.raises(TypeError, match=r"/notes\.py: no route leads to the endpoints of Notes: add it to ROUTES"):
        collected(notes=resource(routed=False))


def test_path_of_two_resources_is_refused_with_both_names(collected: Collect) -> None:
    with pytest.raises(TypeError, match=r"/notes leads to both Memos and Notes: put their methods into one class"):
        collected(memos=resource(name="Memos"), notes=resource())


def test_unknown_permission_is_refused_with_where_to_add_it(collected: Collect) -> None:
    with pytest.raises(TypeError) as refused:
        collected(notes=resource(permission="notes:wirte"))

    assert "Notes.on_get needs the permission 'notes:wirte', which does not exist" in str(refused.value)
    assert "in a migration and to `PermissionName` of models/identity/permissions.py" in str(refused.value)


def test_unknown_scope_of_api_keys_is_refused(collected: Collect) -> None:
    text = resource(permission="authenticated").replace('"authenticated"', '"authenticated", scope="notes:wirte"')

    with pytest.raises(TypeError, match="needs the permission 'notes:wirte'"):
        collected(notes=text)
