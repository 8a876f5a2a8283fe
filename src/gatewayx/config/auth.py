"""Who callers are: the model of their credentials, and what is made of it for the engine.

Key files are read here, when a configuration is loaded; sets of keys that are fetched by URL are
handed in by whoever fetches them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, ValidationError

from gatewayx import _native
from gatewayx.config.environment import resolve
from gatewayx.config.fault import Location
from gatewayx.config.section import Section
from gatewayx.config.values import Duration, Kind, Label, Wait

KEYS_MAX_COUNT = 64
"""Keys of one set; what a set holds beyond them is refused."""

KEY_FILE_MAX_BYTES = 256 << 10
SECRET_MIN_BYTES = 32
"""RFC 7518 section 3.2: a key of HS256 is at least as long as its hash."""

KEY_SOURCES = ("secret", "public_key_file", "jwks_file", "jwks_url")
ALGORITHMS: dict[str, tuple[str, ...]] = {
    "secret": ("HS256",),
    "public_key_file": ("RS256", "ES256"),
    "jwks_file": ("RS256", "ES256"),
    "jwks_url": ("RS256", "ES256"),
}
"""What is accepted from each source where `algorithms` says nothing."""

KeySets = Mapping[str, Mapping[str, Any]]
"""Sets of keys (RFC 7517) by the URL that they came from."""


def sha256_digits(text: str) -> str:
    """A SHA-256 in hexadecimal."""
    if len(text) != 64 or not all(digit in "0123456789abcdef" for digit in text.lower()):
        raise ValueError("must be 64 hexadecimal digits: the SHA-256 of the token")
    return text.lower()


def key_set_url(text: str) -> str:
    """Where keys may be fetched from: https, or http from this machine."""
    local = ("http://127.0.0.1", "http://localhost", "http://[::1]")
    if not text.startswith(("https://", *(f"{host}{end}" for host in local for end in ":/"))):
        raise ValueError("must begin with https:// (http:// only for this machine)")
    return text


class JwtConfig(Section):
    """An issuer of JSON Web Tokens. One of the four sources of keys is required."""

    issuer: str | None = Field(
        default=None, min_length=1, description="What `iss` has to be; without it any will do."
    )
    audience: Annotated[
        tuple[str, ...], Field(strict=False, max_length=64), Kind("list of text")
    ] = Field(
        default=(),
        description="One of these has to be in `aud`; without it `aud` is not looked at.",
    )
    algorithms: Annotated[
        tuple[Literal["HS256", "RS256", "ES256"], ...],
        Field(strict=False, max_length=3),
        Kind("list of `HS256`, `RS256`, `ES256`"),
    ] = Field(
        default=(),
        description=(
            "What tokens may be signed with: HS256 for a `secret`, else RS256 and ES256. A key is"
            " only ever used for the one algorithm of its kind."
        ),
    )
    secret: str | None = Field(
        default=None,
        min_length=1,
        description="The key of HS256, 32 bytes or more. `{env.NAME}` is replaced.",
    )
    public_key_file: str | None = Field(
        default=None, min_length=1, description="A public key in PEM: RSA or P-256."
    )
    jwks_file: str | None = Field(
        default=None,
        min_length=1,
        description="A set of keys (RFC 7517) in JSON; read again at every reload.",
    )
    jwks_url: Annotated[str, AfterValidator(key_set_url), Kind("URL")] | None = Field(
        default=None,
        description=(
            "The same, fetched by the supervisor. While it cannot be fetched the last set serves;"
            " before the first one, tokens of this issuer are refused."
        ),
    )
    jwks_refresh: Wait = Field(
        default=300, description="How often the set is fetched again, in seconds."
    )
    id_claim: str = Field(
        default="sub", min_length=1, description="The claim that becomes `@request.auth.id`."
    )
    leeway: Duration = Field(
        default=30, description="How far the clocks may differ for `exp` and `nbf`."
    )


class TokenConfig(Section):
    """An API token that is known by its digest. The token itself is nowhere in a configuration."""

    id: Label = Field(description="`@request.auth.id` of whoever shows the token.")
    sha256: Annotated[str, AfterValidator(sha256_digits), Kind("64 hexadecimal digits")] = Field(
        description="SHA-256 of the token: `printf %s TOKEN | sha256sum`."
    )
    claims: Annotated[dict[str, JsonValue], Kind("map")] = Field(
        default_factory=dict,
        description="What `@request.auth.NAME` gives in rules and headers.",
    )


class AuthConfig(Section):
    """Which credentials are accepted from callers, as `Authorization: Bearer ...`."""

    jwt: Annotated[tuple[JwtConfig, ...], Field(strict=False, max_length=16)] = ()
    tokens: Annotated[tuple[TokenConfig, ...], Field(strict=False, max_length=1000)] = ()


def compile_auth(auth: AuthConfig, environ: Mapping[str, str], key_sets: KeySets) -> dict[str, Any]:
    """What the engine reads. Raises `ValueError` for what `auth_faults` would have named."""
    return {
        "issuers": [_issuer(jwt, environ, key_sets) for jwt in auth.jwt],
        "tokens": [
            {"id": token.id, "digest": {"sha256": token.sha256}, "claims": token.claims}
            for token in auth.tokens
        ],
    }


def auth_faults(data: object, environ: Mapping[str, str]) -> Iterator[tuple[Location, str]]:
    """What the model cannot see: sources that are missing or too many, files and variables."""
    auth = data.get("auth") if isinstance(data, dict) else None
    if not isinstance(auth, dict):
        return
    for index, item in _items(auth, "jwt"):
        given = [key for key in KEY_SOURCES if item.get(key) is not None]
        if len(given) != 1:
            yield ("auth", "jwt", index), f"needs one of {', '.join(KEY_SOURCES)}"
            continue
        try:
            keys(JwtConfig.model_validate(item), environ, {})
        except ValidationError:
            continue
        except ValueError as error:
            yield ("auth", "jwt", index, given[0]), str(error)
    seen: dict[object, int] = {}
    for index, item in _items(auth, "tokens"):
        digest = item.get("sha256")
        first = seen.setdefault(digest, index)
        if isinstance(digest, str) and first != index:
            yield ("auth", "tokens", index, "sha256"), f"is that of auth.tokens[{first}] as well"


def _items(auth: dict[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    values = auth.get(key)
    for index, item in enumerate(values if isinstance(values, list | tuple) else ()):
        if isinstance(item, dict):
            yield index, item


def keys(jwt: JwtConfig, environ: Mapping[str, str], key_sets: KeySets) -> list[dict[str, Any]]:
    """An issuer's keys, in the engine's form. Raises `ValueError` when its source gives none."""
    if jwt.secret is not None:
        secret = resolve(jwt.secret, environ)
        if len(secret.encode()) < SECRET_MIN_BYTES:
            raise ValueError(f"must have at least {SECRET_MIN_BYTES} bytes")
        return [{"secret": secret}]
    if jwt.public_key_file is not None:
        return [_checked({"pem": _read(jwt.public_key_file)})]
    if jwt.jwks_file is not None:
        try:
            key_set = json.loads(_read(jwt.jwks_file))
        except json.JSONDecodeError as error:
            raise ValueError(f"is no JSON: {error}") from None
        return usable_keys(key_set)
    key_set = key_sets.get(jwt.jwks_url or "")
    return [] if key_set is None else usable_keys(key_set)


def usable_keys(key_set: object) -> list[dict[str, Any]]:
    """The keys of a set that verify signatures; others are passed over (RFC 7517 section 5).

    Raises:
        ValueError: When there is none, or it is no set.
    """
    members = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(members, list):
        raise ValueError('is no set of keys: it must be {"keys": [...]}')
    if len(members) > KEYS_MAX_COUNT:
        raise ValueError(f"must have at most {KEYS_MAX_COUNT} keys")
    forms = [{"jwk": member} for member in members if isinstance(member, dict)]
    usable = [form for form in forms if _problem(form) is None]
    if not usable:
        raise ValueError("holds no key for HS256, RS256 or ES256")
    return usable


def _issuer(jwt: JwtConfig, environ: Mapping[str, str], key_sets: KeySets) -> dict[str, Any]:
    source = next(key for key in KEY_SOURCES if getattr(jwt, key) is not None)
    return {
        "issuer": jwt.issuer,
        "audience": list(jwt.audience),
        "algorithms": list(jwt.algorithms or ALGORITHMS[source]),
        "keys": keys(jwt, environ, key_sets),
        "id_claim": jwt.id_claim,
        "leeway_seconds": round(jwt.leeway),
    }


def _checked(form: dict[str, Any]) -> dict[str, Any]:
    problem = _problem(form)
    if problem is not None:
        raise ValueError(problem)
    return form


def _problem(form: dict[str, Any]) -> str | None:
    return _native.check_verifying_key(json.dumps(form).encode())


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(KEY_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > KEY_FILE_MAX_BYTES:
        raise ValueError(f"must have at most {KEY_FILE_MAX_BYTES >> 10} KiB")
    return content.decode("utf-8", errors="replace")
