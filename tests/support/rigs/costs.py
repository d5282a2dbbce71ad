"""What a call costs in a database: SQLite's steps, PostgreSQL's rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import alembic.command
import alembic.config
from sqlalchemy import Connection, Engine, event

from statussvc.db.database import MIGRATIONS

Call = Callable[[Connection], Any]

NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows) ",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(1, :rows)) ",
}
"""Before INSERT … SELECT … FROM numbers, with the parameter `rows`. SQLite takes it before INSERT, PostgreSQL before
SELECT too."""


def migrated(engine: Engine) -> None:
    """Makes the tables by the migrations, as every installation.

    Of indexes that seem equal SQLite takes one by the order in which they were created, and metadata.create_all has no
    order.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def steps_of(engine: Engine, call: Call, prepare: Call = lambda _: None) -> tuple[int, Any]:
    """How many steps of SQLite's machine a call takes, to the hundred, and its result. Rolls back what it did."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 100
        return 0

    with engine.connect() as connection:
        prepare(connection)
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(count, 100)
        result = call(connection)
        driver.set_progress_handler(None, 100)
        connection.rollback()
    return steps, result


def touched_by(connection: Connection, call: Call) -> tuple[float, Any]:
    """How many rows PostgreSQL touches in a call, in all of its statements, and its result.

    Each statement is explained where it is made, and undone, before it is executed.
    """
    touched = 0.0

    @event.listens_for(connection, "before_cursor_execute")
    def explain(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        nonlocal touched
        if statement.split(None, 1)[0] not in ("SELECT", "WITH", "UPDATE", "DELETE"):
            return
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as own:
            own.execute("SAVEPOINT explained")
            own.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            ((plan,),) = own.fetchall()
            own.execute("ROLLBACK TO SAVEPOINT explained")
            plan = json.loads(plan) if isinstance(plan, str) else plan
            touched += rows_of(plan[0]["Plan"])

    result = call(connection)
    event.remove(connection, "before_cursor_execute", explain)
    return touched, result


def rows_of(node: dict[str, Any]) -> float:
    """Rows that a plan's scans gave or threw away."""
    own = 0.0
    if "Scan" in node["Node Type"]:
        own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return own + sum(rows_of(child) for child in node.get("Plans", ()))
