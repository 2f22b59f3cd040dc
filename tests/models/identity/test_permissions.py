"""Test that SQL and Python define the same roles and permissions."""

from typing import Literal, get_args, get_origin

import psycopg2
import pytest

from models.identity import permissions
from models.identity.permissions import MEMBER_ROLES, PERMISSIONS, ROLES, MemberRole, Role
from web.openapi.permission_matrix import ROLES as DOCUMENTED_ROLES
from web.v1.identity.users import RoleChange
from web.v1.tenants.members import MemberChange


def fetch(superuser, sql, *params):
    with superuser.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()


def literals(annotation):
    """Return the values of every `Literal` in an annotation, also within `Annotated` and unions."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {value for part in get_args(annotation) for value in literals(part)}


def test_roles_of_python_are_those_of_the_table(superuser):
    found = fetch(superuser, "select name, app.is_member_role(name) from public.roles order by id")

    assert [name for name, _ in found] == list(ROLES)
    assert [name for name, is_member in found if is_member] == list(MEMBER_ROLES) == list(get_args(MemberRole))
    assert literals(Role) == set(ROLES) == set(DOCUMENTED_ROLES)
    assert literals(RoleChange.__annotations__["role"]) == set(ROLES) - {"System Admin"}
    assert literals(MemberChange.__annotations__["role"]) == set(MEMBER_ROLES)


def test_member_roles_need_a_brand_and_others_have_none(superuser, brand):
    for number, role in enumerate(ROLES, 1):
        for brand_id in (brand["id"], None):
            sql = (
                "insert into public.users (id, email, password_hash, role_id, brand_id)"
                " values (gen_random_uuid(), gen_random_uuid() || '@x.example', 'x', %s, %s)"
            )
            if (role in MEMBER_ROLES) == (brand_id is not None):
                fetch(superuser, sql + " returning id", number, brand_id)
            else:
                with pytest.raises(psycopg2.errors.CheckViolation):
                    fetch(superuser, sql, number, brand_id)


def test_permissions_of_python_are_those_of_the_table(db_clean):
    stored = {permission.name: permission.roles for permission in permissions.table()}

    assert set(PERMISSIONS) == set(stored), (
        "insert a new permission into public.permissions and public.role_permissions in a migration, and add it to"
        " `PermissionName` of models/identity/permissions.py"
    )
    assert {(role, name) for name, roles in stored.items() for role in roles} == permissions.granted()
    assert {role for roles in stored.values() for role in roles} == set(ROLES) - {"Fan"}
