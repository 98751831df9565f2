"""What becomes of a request between boto3 and the S3 server of the tests: see ``StoreProxy.inject``."""

import functools
import time
from dataclasses import replace

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.faults.store_proxy import Exchange, Message
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY


def drop_answer(exchange: Exchange) -> None:
    """The server does its work, and nobody hears of it."""
    exchange.forward()
    exchange.hang_up()


def reset(exchange: Exchange) -> None:
    """The connection is reset before the server has heard of the request."""
    exchange.hang_up(reset=True)


def answer_error(exchange: Exchange, status: int, code: str) -> None:
    """An error in S3's words, without a look at the server."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>injected</Message></Error>'.encode()
    exchange.answer(Message((("Content-Type", "application/xml"),), body, status))


slow_down = functools.partial(answer_error, status=503, code="SlowDown")
internal_error = functools.partial(answer_error, status=500, code="InternalError")
conflict = functools.partial(answer_error, status=409, code="ConditionalRequestConflict")
error_within_200 = functools.partial(answer_error, status=200, code="InternalError")


def delay(exchange: Exchange, seconds: float) -> None:
    """The answer comes late."""
    answer = exchange.forward()
    time.sleep(seconds)
    exchange.answer(answer)


def cut(exchange: Exchange) -> None:
    """The connection ends in the middle of the answer's body."""
    answer = exchange.forward()
    exchange.answer(answer, num_bytes=len(answer.body) // 2)
    exchange.hang_up()


def stall(exchange: Exchange, seconds: float) -> None:
    """The answer's body stops in the middle, and the connection stays."""
    answer = exchange.forward()
    exchange.answer(answer, num_bytes=len(answer.body) // 2)
    time.sleep(seconds)
    exchange.hang_up()


def flip(exchange: Exchange) -> None:
    """One bit of the answer's body is another."""
    answer = exchange.forward()
    flipped = bytearray(answer.body)
    flipped[len(flipped) // 2] ^= 1
    exchange.answer(replace(answer, body=bytes(flipped)))


def ignore_condition(exchange: Exchange) -> None:
    """The server never sees If-None-Match, as behind gateways that do not know it; signed again without it."""
    headers = {name: value for name, value in exchange.headers.items() if name.lower() in {"host", "content-type"}}
    checksums = {name: value for name, value in exchange.headers.items() if name.lower().startswith("x-amz-checksum")}
    body = exchange.request_body.body
    host = exchange.headers["Host"]
    request = AWSRequest(exchange.command, f"http://{host}{exchange.path}", headers | checksums, body)
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
    exchange.answer(exchange.forward(Message(tuple(request.headers.items()), body)))
