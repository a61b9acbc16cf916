"""The store over a real PostgreSQL server: the contract, and what a server adds to go wrong."""

from __future__ import annotations

import pytest

from horde_model_reference.errors import SettingsInvalid, StoreError, StoreUnavailable
from horde_model_reference.stores.sql import SqlStore
from tests.stores.conftest import Server
from tests.stores.contract import StoreContract, put
from tests.stores.processes import first_line_of, lines_of, start


class TestPostgresStore(StoreContract):
    """The contract over PostgreSQL."""

    @pytest.fixture
    def address(self, postgres_address: str) -> str:
        """An empty schema."""
        return postgres_address

    def test_a_server_that_went_away_is_told_and_found_again(self, store: SqlStore, postgres_server: Server) -> None:
        """The error is ours and says what to check; the store needs no restart when the server is back."""
        put(store, "a")
        postgres_server.stop()
        try:
            with pytest.raises(StoreUnavailable, match="check that the server runs"):
                put(store, "b")
            with pytest.raises(StoreUnavailable):
                store.head()
        finally:
            postgres_server.ensure_postgres_running()
        assert put(store, "b") == 2
        assert store.verify() == []

    def test_a_server_that_stops_in_the_middle_of_a_unit_loses_that_unit_only(
        self, store: SqlStore, postgres_server: Server
    ) -> None:
        """Nothing of it is there afterwards, and the next write follows on."""
        put(store, "a")
        try:
            with pytest.raises(StoreUnavailable), store.begin(actor="alice") as unit:  # noqa: PT012
                unit.put("lora", "b", "1")
                postgres_server.stop()
        finally:
            postgres_server.ensure_postgres_running()
        assert store.head() == 1
        assert put(store, "b") == 2

    def test_a_write_waits_for_another_process_only_so_long(self, store: SqlStore, address: str) -> None:
        """Then it says why; reads go on meanwhile."""
        put(store, "a")
        impatient = SqlStore(address, timeout=0.2)
        with start("hold", address) as holder:
            assert first_line_of(holder) == "held"
            with pytest.raises(StoreUnavailable, match="write lock"):
                put(impatient, "b")
            assert impatient.head() == 1
            lines_of(holder)
        assert put(impatient, "b") == 2
        impatient.close()

    def test_an_error_of_the_server_is_ours(self, store: SqlStore) -> None:
        """Whatever the database says, the caller sees a StoreError."""
        with pytest.raises(StoreError, match="refused"), store._transaction() as connection:
            connection.exec_driver_sql("SELECT 1/0")


def test_a_password_is_never_shown() -> None:
    """Neither in the address of a store, nor in an error that it raises; also where it stands in the query."""
    for address in ("postgresql://ann:hunter2@127.0.0.1:1/x", "postgresql://ann@127.0.0.1:1/x?password=hunter2"):
        store = SqlStore(address, timeout=1)
        assert "hunter2" not in store.url
        with pytest.raises(StoreUnavailable) as caught:
            store.head()
        assert "hunter2" not in str(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "mysql://h/x",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:hunter2@h:port/x",
        "postgresql://h",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    """It names the setting and the two forms there are, and repeats no password."""
    with pytest.raises(SettingsInvalid, match="HORDE_MODEL_REFERENCE_DATABASE_URL") as caught:
        SqlStore(address)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
