"""The relay's connection to the broker: whether it is up, and which queues are empty. For use in one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pika.exceptions import AMQPError, ChannelClosedByBroker

from pipeline.messages import QUEUE_OF
from protos.tilewright.status.v1 import status_pb2 as pb

NOT_FOUND = 404
"""AMQP's reply code for a queue that does not exist."""


class BrokerAway(Exception):
    """Raised when the broker cannot be reached. The message is a sentence for people."""


class BrokerLink(Protocol):
    """What the relay needs from a broker besides publishing."""

    def touch(self) -> None:
        """Open the connection, or keep it alive. Raises BrokerAway."""

    def empty_queues(self) -> Sequence[pb.Stage.ValueType]:
        """Return the stages whose queue holds no message. Raises BrokerAway."""

    def close(self) -> None:
        """Close the connection, if there is one."""


class RabbitmqLink:
    """A link that uses the Dramatiq broker's connection of the calling thread."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker

    def touch(self) -> None:
        try:
            # Sends due heartbeats, and raises if the broker has closed the connection.
            self._broker.connection.process_data_events(0)
        except (AMQPError, OSError) as error:
            raise self._away(error) from error

    def empty_queues(self) -> Sequence[pb.Stage.ValueType]:
        try:
            return [stage for stage, queue in QUEUE_OF.items() if self._is_empty(queue)]
        except (AMQPError, OSError) as error:
            raise self._away(error) from error

    def close(self) -> None:
        del self._broker.connection

    def _is_empty(self, queue: str) -> bool:
        # Uses a channel of its own, because the broker closes it if the queue does not exist.
        channel = self._broker.connection.channel()
        try:
            declared = channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            return True
        channel.close()
        return bool(declared.method.message_count == 0)

    def _away(self, error: Exception) -> BrokerAway:
        del self._broker.connection
        parameters: Any = self._broker.parameters
        if isinstance(parameters, list):
            parameters = parameters[0]
        place = f"{parameters.host}:{parameters.port}"
        # pika's errors have no message, so the error's name has to say what happened.
        return BrokerAway(f"RabbitMQ at {place} cannot be reached ({type(error).__name__}).")


class LocalLink:
    """A link to a broker inside this process, which is always reachable and loses no messages."""

    def touch(self) -> None:
        """Do nothing."""

    def empty_queues(self) -> Sequence[pb.Stage.ValueType]:
        return ()

    def close(self) -> None:
        """Do nothing."""


def link_to(broker: dramatiq.Broker) -> BrokerLink:
    """Return the link for a broker."""
    return RabbitmqLink(broker) if isinstance(broker, RabbitmqBroker) else LocalLink()
