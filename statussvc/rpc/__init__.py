"""The two gRPC services, the health service, what every call goes through, and rows as messages of the proto.

Imports the rest of statussvc and `pipeline`. Only the server imports it, and only what is listed here.
"""

from statussvc.rpc.health import Health
from statussvc.rpc.interceptor import ErrorsToCodes
from statussvc.rpc.pipeline_service import PipelineService
from statussvc.rpc.status_service import StatusService

__all__ = ["ErrorsToCodes", "Health", "PipelineService", "StatusService"]
