"""What the store keeps, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text, update

from gatewayx.config import ProxyConfig
from gatewayx.store import (
    NotStored,
    Store,
    StoreError,
    StoreUnavailable,
    TokenCheck,
    VersionConflict,
)
from gatewayx.store.tables import Base, Meta, Secret
from tests.store.conftest import KEY, OpenStore

SECRET = "a-very-secret-value"


def document(**more: Any) -> dict[str, Any]:
    return {"name": "a", "path": "/a", "upstream": "http://127.0.0.1:1", **more}


def everything() -> dict[str, Any]:
    """A proxy with every option of the model set."""
    whole = ProxyConfig.model_validate(
        document(
            max_concurrent=3,
            queue={"size": 4},
            retry={"attempts": 2},
            circuit_breaker={"enabled": True},
            headers={"X-Key": SECRET},
        )
    )
    return {
        name: value for name, value in whole.model_dump(mode="json").items() if value is not None
    }


def test_migrations_build_what_the_tables_declare(store: Store) -> None:
    options = {"version_table": "gateway_alembic_version"}
    with store.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts=options), Base.metadata) == []


def test_every_option_of_a_proxy_comes_back(store: Store) -> None:
    stored = store.proxies.put("a", everything(), "me")
    assert store.proxies.find("a") == stored
    assert ProxyConfig.model_validate(stored.document)
    found = store.proxies.all()[0].document
    assert {name: value for name, value in found.items() if value != []} == {
        name: value for name, value in everything().items() if value != []
    }


def test_an_option_without_a_column_is_kept_as_well(store: Store) -> None:
    store.proxies.put("a", document(of_a_later_version={"x": [1]}), "me")
    assert store.proxies.all()[0].document["of_a_later_version"] == {"x": [1]}


def test_versions_rise_over_a_deletion_and_history_tells_all(store: Store) -> None:
    store.proxies.put("a", document(), "me", version=0)
    store.proxies.put("a", document(active=False), "you", version=1)
    store.proxies.delete("a", "you", version=2)
    assert store.proxies.put("a", document(), "me").version == 4
    history = store.proxies.history("a")
    assert [(entry.version, entry.actor) for entry in history] == [
        (4, "me"),
        (3, "you"),
        (2, "you"),
        (1, "me"),
    ]
    assert [entry.document for entry in history] == [
        document(),
        None,
        document(active=False),
        document(),
    ]


def test_history_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayx.store.proxies.REVISIONS_MAX_COUNT", 3)
    for _ in range(5):
        store.proxies.put("a", document(), "me")
    assert [entry.version for entry in store.proxies.history("a")] == [5, 4, 3]


def test_a_lost_update_is_refused_and_changes_nothing(store: Store) -> None:
    store.proxies.put("a", document(), "me")
    revision = store.revision()
    for call in (
        lambda: store.proxies.put("a", document(active=False), "you", version=0),
        lambda: store.proxies.put("b", document(name="b"), "you", version=7),
        lambda: store.proxies.delete("a", "you", version=2),
    ):
        with pytest.raises(VersionConflict):
            call()
    with pytest.raises(NotStored):
        store.proxies.delete("b", "you")
    assert [proxy.version for proxy in store.proxies.all()] == [1]
    assert store.revision() == revision


def test_secrets_are_sealed_and_bound_to_their_names(store: Store, open_store: OpenStore) -> None:
    assert store.secrets.put("one", SECRET, "me")
    assert not store.secrets.put("one", SECRET, "me")
    assert store.secrets.put("two", "other", "me")
    assert open_store().secrets.texts() == {"one": SECRET, "two": "other"}
    assert [secret.name for secret in store.secrets.all()] == ["one", "two"]
    with store.write() as conn:
        sealed = conn.execute(text("SELECT sealed_text FROM gateway_secrets ORDER BY name")).all()
        assert SECRET not in str(sealed)
        conn.execute(update(Secret).where(Secret.name == "one").values(sealed_text=sealed[1][0]))
    with pytest.raises(StoreError, match="secret/one cannot be opened"):
        store.secrets.texts()
    store.secrets.delete("one", "me")
    with pytest.raises(NotStored):
        store.secrets.delete("one", "me")


def test_tokens_are_hashed_expire_and_are_revoked(store: Store, open_store: OpenStore) -> None:
    made = store.tokens.create("ci", "me", superuser=True, claims={"id": "7"})
    other = store.tokens.create("app", "me", claims={"id": "8"})
    gone = store.tokens.create("old", "me", superuser=True, expires_ms=1)
    check = TokenCheck(store.key)
    check.rows = open_store().tokens.superusers()
    assert check.admits(made.text) == made.token.id
    assert check.admits(made.text) == made.token.id
    forged = made.text[:-1] + ("A" if made.text[-1] != "A" else "B")
    for refused in (other.text, gone.text, forged, "", "gwx_x_y"):
        assert check.admits(refused) is None
    found = {entry.id: entry for entry in store.credentials()}
    assert found.keys() == {made.token.id, other.token.id}
    assert found[other.token.id].digest == store.key.digest(other.text)
    assert found[other.token.id].claims == {"id": "8"}
    with store.read() as conn:
        rows = str(conn.execute(text("SELECT * FROM gateway_tokens")).all())
    assert "$argon2id$" in rows
    assert made.text not in rows
    assert made.text not in repr(made)
    store.tokens.revoke(made.token.id, "me")
    check.rows = store.tokens.superusers()
    assert check.admits(made.text) is None
    with pytest.raises(NotStored):
        store.tokens.revoke(made.token.id, "me")


def test_the_first_superuser_token_is_made_once(store: Store) -> None:
    made = store.tokens.first_superuser()
    assert made is not None
    assert made.token.id in store.tokens.superusers()
    assert store.tokens.first_superuser() is None


def test_policies(store: Store) -> None:
    made = store.policies.put("p", {"abort": 5}, "me", version=0)
    assert (made.version, made.enabled, made.applied_by) == (1, True, "me")
    off = store.policies.enable("p", False, "you")
    assert (off.enabled, off.applied_by, off.applied_ms) == (False, "me", made.applied_ms)
    again = store.policies.put("p", {"abort": 6}, "you")
    assert (again.enabled, again.document, again.version) == (False, {"abort": 6}, 3)
    with pytest.raises(VersionConflict):
        store.policies.put("p", {}, "me", version=1)
    assert [policy.name for policy in store.policies.all()] == ["p"]
    store.policies.delete("p", "me")
    assert store.policies.find("p") is None
    with pytest.raises(NotStored):
        store.policies.enable("p", True, "me")


def test_what_is_done_is_in_the_audit_log_and_no_secret_is(store: Store) -> None:
    store.proxies.put("a", document(headers={"X-Key": SECRET}), "me")
    store.secrets.put("one", SECRET, "you")
    store.audit.add("me", "reload", "gateway", "file")
    entries = store.audit.entries()
    assert [(entry.actor, entry.action, entry.kind, entry.name) for entry in entries] == [
        ("me", "reload", "gateway", "file"),
        ("you", "create", "secret", "one"),
        ("me", "create", "proxy", "a"),
    ]
    assert [entry.id for entry in store.audit.entries(limit=1, before=entries[0].id)] == [
        entries[1].id
    ]
    assert SECRET not in str(entries)


def test_another_key_is_refused(url: str, store: Store) -> None:
    with pytest.raises(StoreError, match="not the one that this store was made with"):
        Store.open(url, environ={"GATEWAYX_STORE_KEY": KEY[::-1]})


def test_a_later_schema_is_refused(url: str, store: Store) -> None:
    with store.write() as conn:
        conn.execute(text("UPDATE gateway_alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="schema 9999, which this version does not know"):
        Store.open(url, environ={"GATEWAYX_STORE_KEY": KEY})


def test_an_older_file_is_copied_before_it_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gatewayx.db"
    url = f"sqlite:///{path}"
    store = Store.open(url, environ={"GATEWAYX_STORE_KEY": KEY})
    store.secrets.put("one", SECRET, "me")
    migrated: list[str] = []
    monkeypatch.setattr("gatewayx.store.store._newest_schema", lambda: "0002")
    monkeypatch.setattr(Store, "migrate", lambda self: migrated.append(url))
    Store.open(url, environ={"GATEWAYX_STORE_KEY": KEY}).close()
    store.close()
    assert migrated == [url]
    backup = tmp_path / "gatewayx.db.schema-0001.backup"
    assert backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(backup) as copy:
        assert copy.execute("SELECT name FROM gateway_secrets").fetchall() == [("one",)]
    copy.close()


def test_files_are_the_owners_only_and_the_key_is_made_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gatewayx.db"
    store = Store.open(url, environ={})
    store.secrets.put("one", SECRET, "me")
    store.close()
    again = Store.open(url, environ={})
    assert again.secrets.texts() == {"one": SECRET}
    again.close()
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes.keys() >= {"gatewayx.db", "gatewayx.db.key"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    ("url", "environ", "message"),
    [
        ("mysql://host/db", {"GATEWAYX_STORE_KEY": KEY}, "not a store"),
        ("postgresql://host/db", {}, "needs a key"),
        ("sqlite:///missing/folder/x.db", {"GATEWAYX_STORE_KEY": KEY}, "cannot open the store"),
        ("sqlite://", {"GATEWAYX_STORE_KEY": "short"}, "at least 32 characters"),
        ("nonsense", {"GATEWAYX_STORE_KEY": KEY}, "parse"),
    ],
)
def test_what_cannot_be_opened(url: str, environ: dict[str, str], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store.open(url, environ=environ)


def test_a_database_that_is_away_is_told_without_its_password() -> None:
    url = "postgresql://me:hidden-word@127.0.0.1:1/db"
    with pytest.raises(StoreUnavailable) as caught:
        Store.open(url, environ={"GATEWAYX_STORE_KEY": KEY})
    assert "hidden-word" not in str(caught.value)


def test_the_revision_rises_with_every_change(store: Store) -> None:
    before = store.revision()
    store.secrets.put("one", "x", "me")
    store.policies.put("p", {}, "me")
    assert store.revision() == before + 2
    with store.read() as conn:
        assert conn.execute(text("SELECT count(*) FROM gateway_meta")).scalar() == 2
    assert Meta.__tablename__ == "gateway_meta"
