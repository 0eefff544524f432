"""Calls by bytes, so that these tests need no generated code."""

import grpc

SERVING, NOT_SERVING = 1, 2


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, payload):
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def evaluate_request(values):
    """EvaluateRequest {mode: TRAIN, x: F64 [len(values), 1]}."""
    shape = field(2, varint(len(values)) + varint(1))
    tensor = b"\x08\x04" + shape + field(15, values.tobytes())
    return b"\x08\x01" + field(15, tensor)


def dial(address):
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


def evaluate(channel):
    return channel.unary_unary("/batchnorm.v1.BatchNormService/Evaluate")


def health(channel, service=""):
    """The serving status of a service, or none if nobody answers."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    request = field(1, service.encode()) if service else b""
    try:
        return check(request, timeout=10)[1]
    except grpc.RpcError:
        return None
