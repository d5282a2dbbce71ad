"""The two real servers that tests stand on."""

from __future__ import annotations

import socket
import subprocess

import pika
import pika.exceptions
import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests import servers


def test_a_message_goes_through_rabbitmq(rabbitmq_url: str) -> None:
    # Given a queue on this test's vhost
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("letters", durable=True)
        # When a message is published with a confirm
        channel.basic_publish("", "letters", b"hello", mandatory=True)
        # Then it can be fetched
        _, _, body = channel.basic_get("letters", auto_ack=True)
        assert body == b"hello"


@pytest.mark.parametrize("test", ["first", "second"])
def test_each_test_has_an_empty_vhost(rabbitmq_url: str, test: str) -> None:
    # Given two tests that use the same queue's name
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        channel = connection.channel()
        # When each declares it
        declared = channel.queue_declare("shared", durable=True)
        channel.basic_publish("", "shared", test.encode())
        # Then neither sees what the other has put in
        assert declared.method.message_count == 0


def test_a_database_takes_rows(postgres_url: str) -> None:
    # Given a new database
    engine = create_engine(postgres_url)
    # When a row is committed
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE letters (body text)"))
        connection.execute(text("INSERT INTO letters VALUES ('hello')"))
    # Then another connection reads it
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT body FROM letters")) == "hello"
    engine.dispose()


@pytest.mark.parametrize("test", ["first", "second"])
def test_each_test_has_an_empty_database(postgres_url: str, test: str) -> None:
    # Given two tests that use the same table's name
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        # When each creates it, then it is not there yet
        connection.execute("CREATE TABLE shared ()")


def test_a_database_goes_away_though_it_is_in_use(postgres_server: servers.PostgresServer) -> None:
    # Given a test that leaves a connection open
    with postgres_server.database() as url:
        left_open = psycopg.connect(url.replace("+psycopg", ""))
    # When its database is dropped, then the connection is cut
    with pytest.raises(psycopg.OperationalError):
        left_open.execute("SELECT 1")
    left_open.close()


def test_rabbitmq_leaves_no_process_behind() -> None:
    # Given a server, with its port mapper and its helpers
    before = set(psutil.Process().children(recursive=True))
    with servers.rabbitmq() as server:
        started = set(psutil.Process().children(recursive=True)) - before
        port = server.port
    # When it has ended
    _, left = psutil.wait_procs(started, timeout=10)
    # Then none of them is left, nor its port open
    assert len(started) >= 2
    assert left == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_server_that_cannot_start_says_why() -> None:
    # Given a program that writes why it fails
    account = servers.Account("postgres")
    with account.folder() as home, account.process(["/bin/sh", "-c", "echo no luck; exit 3"], home) as running:
        # When one waits for it
        with pytest.raises(RuntimeError) as failure:
            running.await_ready(lambda: False)
        # Then the error carries its output and its exit code
        assert "exit code 3" in str(failure.value)
        assert "no luck" in str(failure.value)


def test_a_server_that_ignores_the_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process that ignores SIGTERM
    monkeypatch.setattr(servers, "STOP_LIMIT", 0.2)
    account = servers.Account("postgres")
    command = ["/bin/sh", "-c", "trap '' TERM; echo deaf; exec sleep 600"]
    with account.folder() as home, account.process(command, home) as running:
        running.await_ready(lambda: running.log.read_bytes() == b"deaf\n")
        process: subprocess.Popen[bytes] = running.process
    # When its time is over, then it is gone all the same
    assert process.returncode == -9
