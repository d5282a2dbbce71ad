"""The two real servers that tests stand on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pika
import pika.exceptions
import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.support.rigs import processes, servers, status_rig


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


def test_a_rabbitmq_that_has_crashed_is_started_again_and_leaves_no_process_behind() -> None:
    before = set(psutil.Process().children(recursive=True))
    with servers.rabbitmq() as server:
        # Given a server that crashes under a test
        os.kill(server.pid, signal.SIGSEGV)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        # When the next one asks for it, then it is there again
        server.revive()
        assert server.answers()
        # And given its port mapper and its helpers
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
    account = processes.Account("postgres")
    with account.folder() as home, pytest.raises(RuntimeError) as failure:
        # When one waits for it
        with account.server(["/bin/sh", "-c", "echo no luck; exit 3"], home, lambda: False):
            raise AssertionError
    # Then the error carries its output and its exit code
    assert "exit code 3" in str(failure.value)
    assert "no luck" in str(failure.value)


def test_a_program_is_started_unharmed_beside_busy_rpcs(tmp_path: Path) -> None:
    over = threading.Event()
    with status_rig.running(f"sqlite:///{tmp_path}/rows.sqlite3") as status, ThreadPoolExecutor(4) as threads:

        def ask(dataset_id: str) -> None:
            while not over.is_set():
                status.get(dataset_id)

        # Given rpcs in all threads
        asking = [threads.submit(ask, status.create()) for _ in range(4)]
        # When programs are started meanwhile, then none ends by a signal
        account = processes.Account("postgres")
        with account.folder() as home:
            codes = []
            for _ in range(20):
                with account.process(["/bin/true"], home) as running:
                    codes.append(running.process.wait(10))
        over.set()
        for one in asking:
            one.result()
    assert codes == [0] * 20


def test_a_server_that_ignores_the_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process that ignores SIGTERM
    monkeypatch.setattr(processes, "STOP_LIMIT", 0.2)
    account = processes.Account("postgres")
    command = ["/bin/sh", "-c", "trap '' TERM; echo deaf; exec sleep 600"]
    with account.folder() as home, account.process(command, home) as running:
        running.await_ready(lambda: running.log.read_bytes() == b"deaf\n")
        process: subprocess.Popen[bytes] = running.process
    # When its time is over, then it is gone all the same
    assert process.returncode == -9
