"""Expects a call to be refused, and reads the details of the refusal."""

import contextlib

import grpc
from google.rpc import error_details_pb2, status_pb2


class Refusal:
    """What a refused call said; filled when the `with` block ends."""

    code = None
    message = ""
    reason = ""
    metadata = {}
    fields = ()

    def read(self, error):
        self.code = error.code()
        self.message = error.details()
        for detail in _details(error):
            self._read_detail(detail)

    def names(self, field):
        """Whether the refusal blames the field, or a part of it."""
        return any(f == field or f.startswith(field + ".")
                   for f in self.fields)

    def _read_detail(self, detail):
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(info):
            assert info.domain == "batchnorm.v1"
            self.reason = info.reason
            self.metadata = dict(info.metadata)
        elif detail.Unpack(bad_request):
            self.fields = tuple(v.field for v in bad_request.field_violations)


def _details(error):
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value).details
    return ()


@contextlib.contextmanager
def refused(reason, field=None, code=grpc.StatusCode.INVALID_ARGUMENT):
    """The block's call must fail with this code, reason and field."""
    refusal = Refusal()
    try:
        yield refusal
    except grpc.RpcError as error:
        refusal.read(error)
        assert (refusal.code, refusal.reason) == (code, reason), error
        if field is not None:
            assert refusal.names(field), (field, refusal.fields)
        assert refusal.message, "a refusal must say why"
        return
    raise AssertionError(f"expected {reason}, but the call succeeded")
