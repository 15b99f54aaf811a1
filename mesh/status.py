"""Named failures on the wire: MeshError ⇄ google.rpc.Status with ErrorInfo (AIP-193)."""

import logging
from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from mesh.errors import MeshError, Reason

DOMAIN = "dac"
"""The ErrorInfo domain of every DAC error."""

STATUS_KEY = "grpc-status-details-bin"
_log = logging.getLogger("dac.status")
_INFO_NAME, _RETRY_NAME = "google.rpc.ErrorInfo", "google.rpc.RetryInfo"
_INFO, _RETRY = (f"type.googleapis.com/{name}" for name in (_INFO_NAME, _RETRY_NAME))
_GENERATED = "Method not implemented!"
"""What generated servicers say of a method that nobody wrote."""
_BY_NAME = {code.name: code for code in grpc.StatusCode}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_REASON_OF_CODE = {
    grpc.StatusCode.CANCELLED: Reason.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE: Reason.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED: Reason.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.TOO_LARGE,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.INVALID_REQUEST,
    grpc.StatusCode.NOT_FOUND: Reason.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED: Reason.INVALID_CREDENTIAL,
    grpc.StatusCode.PERMISSION_DENIED: Reason.PERMISSION_DENIED,
}


def code_of(error: MeshError) -> grpc.StatusCode:
    """The gRPC status code of a failure."""
    return _BY_NAME[error.status_name]


def details_of(error: MeshError) -> bytes:
    """`to_status`, serialised."""
    told: bytes = to_status(error).SerializeToString()
    return told


def to_status(error: MeshError) -> status_pb2.Status:
    """A google.rpc.Status with ErrorInfo and, where there is one, RetryInfo."""
    info = error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata)
    code: int = code_of(error).value[0]
    status = status_pb2.Status(code=code, message=error.message)
    # What Any.Pack and Any.Unpack do, in a third of the time: a burst of refusals is a burst of these.
    status.details.add(type_url=_INFO, value=info.SerializeToString())
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo(
            retry_delay=duration_pb2.Duration(
                seconds=int(error.retry_after_s), nanos=int(error.retry_after_s % 1 * 1e9)
            )
        )
        status.details.add(type_url=_RETRY, value=retry.SerializeToString())
    return status


def from_status(status: status_pb2.Status) -> MeshError:
    """The failure that a google.rpc.Status tells."""
    return _told_by(_BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status)


def _told_by(code: grpc.StatusCode, message: str, status: status_pb2.Status) -> MeshError:
    reason, metadata, retry_after_s = _REASON_OF_CODE.get(code, Reason.INTERNAL), {}, None
    for detail in status.details:
        told = detail.type_url.rpartition("/")[2]
        if told == _INFO_NAME:
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            if info.domain == DOMAIN:
                reason, metadata = Reason.__members__.get(info.reason, reason), dict(info.metadata)
        elif told == _RETRY_NAME:
            retry = error_details_pb2.RetryInfo.FromString(detail.value)
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return MeshError(reason, message, metadata=metadata, retry_after_s=retry_after_s)


def from_exception(error: BaseException, where: str) -> MeshError:
    """The failure to tell a caller. What is not a MeshError is logged and told as a fixed sentence."""
    if isinstance(error, MeshError):
        return error
    if isinstance(error, NotImplementedError) and str(error) == _GENERATED:
        return MeshError(Reason.UNIMPLEMENTED, f"{where} is not served here yet.")
    _log.error("unexpected error in %s", where, exc_info=error)
    return MeshError(
        Reason.INTERNAL, "DAC failed inside on this request. The operator finds it in the log under its request id."
    )


def from_rpc(code: grpc.StatusCode, message: str, trailing: Any, service: str = "") -> MeshError:
    """Rebuilds the failure that a status and its trailing metadata carry."""
    raw = next((value for key, value in trailing or () if key == STATUS_KEY), None)
    told = status_pb2.Status.FromString(raw) if isinstance(raw, bytes) else status_pb2.Status()
    if code is grpc.StatusCode.UNAVAILABLE and raw is None:
        message = f"DAC's {service or 'called'} service is not reachable right now. Try again shortly."
    return _told_by(code, message, told)
