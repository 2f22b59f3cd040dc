"""Test the verification of access tokens of a Supabase project."""

import base64
import dataclasses
import hmac
import json

import pytest
from joserfc.jwk import ECKey

from models.core.errors import Unauthenticated, Unavailable
from models.identity.jwks import RemoteKeys
from models.identity.supabase import Project, Verifier
from settings import settings
from tests.fixtures.supabase import SECRET, rsa_key


def test_token_signed_by_project_key_is_accepted(supabase, verifier):
    claims = verifier().verify(supabase.token(email="Ana@People.example", aal="aal2"))

    assert (claims.email, claims.aal, claims.role) == ("Ana@People.example", "aal2", "authenticated")


def test_token_signed_by_rsa_key_is_accepted(supabase, verifier):
    supabase.server.keys.append(rsa_key())

    assert verifier().verify(supabase.token(rsa_key()))


def test_legacy_token_is_accepted_only_with_its_secret(supabase, verifier):
    token = supabase.legacy_token()

    with pytest.raises(Unauthenticated):
        verifier().verify(token)

    assert verifier(supabase_jwt_secret=SECRET).verify(token)
    assert verifier(supabase_jwt_secret=SECRET).verify(supabase.token())
    with pytest.raises(Unauthenticated):
        verifier(supabase_jwt_secret=SECRET).verify(supabase.legacy_token(SECRET[::-1]))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.supabase.co/auth/v1"},
        {"iss": ...},
        {"aud": "elsewhere"},
        {"aud": ["a", "b"]},
        {"aud": ...},
        {"role": "service_role"},
        {"role": "anon"},
        {"role": "postgres"},
        {"role": ...},
        {"exp": 1_700_000_000},
        {"exp": ...},
        {"exp": "tomorrow"},
        {"exp": 1e400},
        {"exp": None},
        {"nbf": 4_000_000_000},
        {"iat": 4_000_000_000},
        {"iat": -(2**63)},
        {"nbf": -1},
        {"exp": 10**400},
        {"sub": ...},
        {"sub": "x"},
        {"sub": 1},
        {"session_id": ...},
        {"session_id": ["x"]},
        {"is_anonymous": "no"},
        {"app_metadata": []},
        {"aal": "aal9"},
        *({"amr": [{"method": "password", "timestamp": odd}]} for odd in (True, 2**63, 10**18, -1, "1", 1.5, None)),
        {"amr": [{"method": "password"}]},
        {"is_anonymous": True},
        {"is_anonymous": True, "email": "", "app_metadata": {"user_role": "System Admin"}},
        {"is_anonymous": True, "email": "", "app_metadata": {"brand_id": "01a2031c-841c-7709-875d-666ded17ceb1"}},
    ],
    ids=str,
)
def test_token_with_an_invalid_claim_is_refused(supabase, verifier, changes):
    with pytest.raises(Unauthenticated):
        verifier().verify(supabase.token(**changes))


def test_token_with_several_audiences_is_accepted(supabase, verifier):
    assert verifier().verify(supabase.token(aud=["elsewhere", "authenticated"]))


def test_token_signed_with_the_public_key_as_secret_is_refused(supabase, verifier):
    """A verifier that lets the token choose its algorithm would accept these tokens."""
    supabase.server.keys.append(rsa_key())
    configured = [verifier(), verifier(supabase_jwt_secret=SECRET)]
    for key in supabase.server.keys:
        for text in (
            key.as_pem(private=False),
            key.as_der(private=False),
            json.dumps(key.as_dict(private=False)).encode(),
        ):
            for verifies in configured:
                with pytest.raises(Unauthenticated):
                    verifies.verify(signed_with(text, supabase.claims(), kid=key.kid))


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "", "HS256", "HS384", "ES384", "RS512", "PS256", "EdDSA", None, 1, []]
)
def test_token_of_another_algorithm_is_refused(supabase, verifier, alg):
    _, payload, signature = supabase.token().split(".")
    head = encoded(json.dumps({"alg": alg, "kid": supabase.key.kid}).encode())

    for text in (signature, ""):
        with pytest.raises(Unauthenticated):
            verifier().verify(f"{head}.{payload}.{text}")


@pytest.mark.parametrize(
    "extra", [{"crit": ["b64"], "b64": False}, {"crit": ["x"], "x": 1}, {"b64": False}, {"kid": 1}]
)
def test_token_with_unsupported_header_is_refused(supabase, verifier, extra):
    _, payload, signature = supabase.token().split(".")
    head = encoded(json.dumps({"alg": "ES256", "kid": supabase.key.kid, **extra}).encode())

    with pytest.raises(Unauthenticated):
        verifier().verify(f"{head}.{payload}.{signature}")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a.b.c", "é.é.é", "W10.W10.W10", "e30.e30.e30", "." * 5000, "[" * 5000]
)
def test_malformed_token_is_refused(supabase, verifier, text):
    with pytest.raises(Unauthenticated):
        verifier().verify(text)


def signed_with(secret, claims, kid):
    signed = f"{encoded(json.dumps({'alg': 'HS256', 'kid': kid}).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"


def encoded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_token_of_another_key_is_refused(supabase, verifier):
    supabase.server.keys.append(rsa_key())
    stranger = ECKey.generate_key("P-256")

    for token in (
        supabase.sign(supabase.claims(), stranger, kid=supabase.key.kid),
        supabase.sign(supabase.claims(), stranger),
        supabase.sign(supabase.claims(), rsa_key(), kid=supabase.key.kid),
        supabase.sign(supabase.claims(), stranger, kid="unknown"),
        supabase.sign(supabase.claims(), supabase.key, kid=...),
        supabase.sign(supabase.claims(), stranger, kid=supabase.key.kid, jwk=stranger.as_dict(private=False)),
    ):
        with pytest.raises(Unauthenticated):
            verifier().verify(token)


def test_token_with_unfetchable_key_returns_503(supabase):
    supabase.server.answer = (500, b"")
    keys = RemoteKeys(supabase.described().jwks_url)
    keys.fetch()

    with pytest.raises(Unavailable):
        Verifier(supabase.described(), keys).verify(supabase.token())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"supabase_url": ""}, "SUPABASE_URL"),
        ({"supabase_url": "ftp://x.example"}, "SUPABASE_JWKS_URL"),
        ({"supabase_url": "x.example"}, "SUPABASE_JWKS_URL"),
        ({"supabase_url": "http://x.example", "environment": "production"}, "https"),
        ({"supabase_url": "https://x.example", "supabase_jwt_secret": "short"}, "SUPABASE_JWT_SECRET"),
        ({"supabase_url": "https://x.example", "supabase_confirms_email": "perhaps"}, "SUPABASE_CONFIRMS_EMAIL"),
    ],
)
def test_unsafe_settings_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        Project.of(dataclasses.replace(settings, auth_mode="supabase", **changes))


def test_issuer_and_jwks_url_follow_from_project_url():
    project = Project.of(dataclasses.replace(settings, supabase_url="https://abc.supabase.co/"))

    assert project.issuer == "https://abc.supabase.co/auth/v1"
    assert project.jwks_url == "https://abc.supabase.co/auth/v1/.well-known/jwks.json"
