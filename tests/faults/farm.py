"""The farm as compose runs it, in child processes on this machine: statussvc, gateway, ingest, tiler."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import requests
from sqlalchemy import NullPool, create_engine, func, select

from pipeline.channels import CLIENT_OPTIONS
from pipeline.status import FINAL, StatusClient
from pipeline.storage.directory import DirectoryStorage
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from statussvc.db.tables import datasets, metadata
from tests.faults.service import Service
from tests.support.rigs.servers import RabbitServer, free_port
from tests.support.rigs.waiting import LIMIT, until

QUICK = {
    # Six missed beats: this machine may be busy with other tests.
    "TILEWRIGHT_LEASE_SECONDS": "3",
    "TILEWRIGHT_PUBLISH_LEASE_SECONDS": "5",
    "TILEWRIGHT_RETRY_BASE_SECONDS": "0.2",
    # Tests sweep when they want to look.
    "TILEWRIGHT_SWEEP_INTERVAL": "3600",
}

Row = Mapping[str, Any]


class Watch:
    """All that a watcher of one dataset is told, over outages of statussvc."""

    def __init__(self, farm: Farm, dataset_id: str) -> None:
        self.dataset_id = dataset_id
        self.statuses: list[pb.DatasetStatus] = []
        self._farm = farm
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"watch-{dataset_id}", daemon=True)
        self._thread.start()

    def wait_for(self, condition: Callable[[pb.DatasetStatus], bool], what: str) -> pb.DatasetStatus:
        """The first status for which the condition holds."""

        def found() -> pb.DatasetStatus | None:
            return next(filter(condition, self.statuses), None)

        with self._news:
            if not self._news.wait_for(lambda: found() is not None, LIMIT):
                last = self.statuses[-1] if self.statuses else None
                raise AssertionError(f"{self.dataset_id} was never {what}; last:\n{last}\n{self._farm.last_words()}")
            status = found()
        assert status is not None
        return status

    def _run(self) -> None:
        request = pb.WatchDatasetRequest(dataset_id=self.dataset_id)
        while not self._farm.closing.is_set():
            with suppress(grpc.RpcError):
                for response in self._farm.users.WatchDataset(request):
                    with self._news:
                        self.statuses.append(response.status)
                        self._news.notify_all()
                return
            # statussvc is away, or the dataset is deleted.
            if self._farm.closing.wait(0.2) or self._is_deleted():
                return

    def _is_deleted(self) -> bool:
        return self._farm.row(self.dataset_id)["deleted_at"] is not None


class Farm:
    """The services of one farm; each may be killed, stopped, frozen, and started again.

    Parameters
    ----------
    folder: an empty folder for storage, logs and marks.
    broker: whose vhost `rabbitmq_url` is.
    allow: what the farm may fetch from, HOST:PORT.
    storage: another folder for the storage.
    variables: further settings of all services.
    """

    def __init__(
        self,
        folder: Path,
        broker: RabbitServer,
        rabbitmq_url: str,
        database_url: str,
        allow: str,
        *,
        storage: Path | None = None,
        **variables: str,
    ) -> None:
        self.folder = folder
        self.storage = DirectoryStorage(storage or folder / "storage")
        self.rabbitmq_url = rabbitmq_url
        self.closing = threading.Event()
        self.watches: dict[str, Watch] = {}
        self.dead_letters = 0
        self._broker = broker
        self._engine = create_engine(database_url, poolclass=NullPool)
        self._grpc_port, self._port = free_port(), free_port()
        self.address = f"127.0.0.1:{self._grpc_port}"
        self.url = f"http://127.0.0.1:{self._port}"
        self.environment = QUICK | {
            "TILEWRIGHT_ALLOW_SOURCES": allow,
            "TILEWRIGHT_DATABASE_URL": database_url,
            "TILEWRIGHT_GRPC_PORT": str(self._grpc_port),
            "TILEWRIGHT_PORT": str(self._port),
            "TILEWRIGHT_RABBITMQ_URL": rabbitmq_url,
            "TILEWRIGHT_STATUS_ADDRESS": self.address,
            "TILEWRIGHT_STORAGE": str(self.storage.root),
        }
        self.environment |= variables
        self.services: dict[str, Service] = {}
        self.statussvc = self.add("statussvc", ["-m", "statussvc"])
        self.gateway = self.add("gateway", ["-m", "gateway"])
        self.ingest = self.add_worker("ingest", "ingest", threads=2)
        self.tiler = self.add_worker("tiler", "tiler")
        self._channel = grpc.insecure_channel(self.address, options=CLIENT_OPTIONS)
        self.users = pb_grpc.StatusServiceStub(self._channel)
        self.session = requests.Session()
        # What the environment says of proxies is not for the loopback.
        self.session.trust_env = False

    def add(self, name: str, arguments: list[str], **variables: str) -> Service:
        """Another service, not started yet."""
        return self._add(Service(name, arguments, self.environment | variables, self.folder))

    def add_worker(self, name: str, kind: str, *, threads: int = 1, module: str = "worker") -> Service:
        """Another worker, not started yet."""
        arguments = ["-m", "dramatiq", f"{kind}.{module}", "--processes", "1", "--threads", str(threads)]
        arguments += ["--worker-shutdown-timeout", "10000"]
        environment = self.environment | {"dramatiq_queue_prefetch": str(threads)}
        return self._add(Service(name, arguments, environment, self.folder, hasty=True))

    def _add(self, service: Service) -> Service:
        self.services[service.name] = service
        return service

    def start(self) -> None:
        """Returns when datasets are accepted."""
        for service in self.services.values():
            service.start()
        self.await_ready()

    def await_ready(self) -> None:
        """Returns when the gateway answers and statussvc does."""
        until(lambda: self.get("/readyz", "status") in {"ok", "degraded"}, f"a ready gateway{self.last_words()}")

    def reset(self) -> None:
        """Makes it again what it was when it was started."""
        usual = (self.statussvc, self.gateway, self.ingest, self.tiler)
        for name, service in list(self.services.items()):
            if service not in usual:
                service.down()
                del self.services[name]
            elif service.variables or not service.running:
                service.begin_anew()
        self.await_ready()

    def close(self) -> None:
        self.closing.set()
        for service in reversed(self.services.values()):
            service.down()
        self.session.close()
        self._channel.close()

    def get(self, path: str, *keys: str) -> Any:
        """What the gateway answers there, decoded, or the value below the keys; None where it is away."""
        try:
            found = self.session.get(f"{self.url}{path}", timeout=LIMIT).json()
        except requests.RequestException:
            return None
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def post(self, url: str, key: str | None = None) -> requests.Response:
        """Submits once. Raises requests.ConnectionError where the gateway is away or dies over it."""
        headers = {"Idempotency-Key": key} if key else {}
        body = {"name": "Earth", "url": url}
        return self.session.post(f"{self.url}/api/datasets", json=body, headers=headers, timeout=LIMIT)

    def submit(self, url: str) -> str:
        """Submits as a careful client does: again with the same key until it is accepted. Gives the id, watched."""
        key = uuid.uuid4().hex
        answers: list[requests.Response] = []

        def accepted() -> bool:
            with suppress(requests.ConnectionError):
                answers.append(self.post(url, key))
            return bool(answers) and answers[-1].status_code == 202

        until(accepted, "an accepted POST")
        return self.watch(answers[-1].json()["dataset_id"])

    def act(self, method: str, dataset_id: str, action: str = "") -> int:
        """Does something to a dataset: POST its "/cancel" or "/retry", or DELETE it. Gives the HTTP status."""
        path = f"{self.url}/api/datasets/{dataset_id}{action}"
        status = self.session.request(method, path, timeout=LIMIT).status_code
        if action == "/retry":
            self.watch(dataset_id)
        return status

    def watch(self, dataset_id: str) -> str:
        """Watches a dataset from now on."""
        self.watches[dataset_id] = Watch(self, dataset_id)
        return dataset_id

    def await_state(self, dataset_id: str, state: pb.State.ValueType, attempt: int = 1) -> pb.DatasetStatus:
        return self.watches[dataset_id].wait_for(
            lambda status: status.state == state and status.attempt >= attempt, pb.State.Name(state)
        )

    def finish(self, dataset_id: str) -> pb.DatasetStatus:
        """Waits for a final state."""
        return self.watches[dataset_id].wait_for(lambda status: status.state in FINAL, "in a final state")

    def rows(self, table: str = "datasets") -> list[Row]:
        """All rows of a table of statussvc."""
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(metadata.tables[table])).mappings()]

    def row(self, dataset_id: str) -> Row:
        """A dataset's row."""
        with self._engine.connect() as connection:
            query = select(datasets).where(datasets.c.dataset_id == dataset_id)
            return dict(connection.execute(query).mappings().one())

    def unfinished(self) -> int:
        """How many datasets are not in a final state."""
        with self._engine.connect() as connection:
            query = select(func.count()).where(datasets.c.finished_at.is_(None))
            return connection.execute(query).scalar_one()

    def queues(self) -> dict[str, tuple[int, int]]:
        """By queue: messages that are ready, and that a worker holds."""
        vhost = quote(self.rabbitmq_url.partition("://")[2].partition("/")[2] or "/", safe="")
        found: Any = self._broker.api("GET", f"queues/{vhost}?disable_stats=true&enable_queue_totals=true")
        return {one["name"]: (one["messages_ready"], one["messages_unacknowledged"]) for one in found}

    @contextmanager
    def status(self) -> Iterator[StatusClient]:
        """A client of PipelineService."""
        client = StatusClient(self.address)
        yield client
        client.close()

    def last_words(self) -> str:
        """The ends of all logs."""
        logs = {name: one.log.read_text(errors="replace") for name, one in self.services.items() if one.log.exists()}
        return "".join(f"\n--- {name}\n{text[-2500:]}" for name, text in logs.items())
