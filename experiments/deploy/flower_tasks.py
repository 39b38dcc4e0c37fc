# pyright: reportMissingImports=false
"""Flower's tasks, run in this process by apps that are installed here: no code that a network brings is ever run.

Flower sends its apps' code with each run and starts a process for each message. A hospital runs what it has installed
and looked at; so SuperLink and SuperNode are started with ``--isolation process``, under which who knows a secret on
their machine fetches tasks from them, and this module fetches them. It is the one that knows Flower's insides: 1.42's.
"""

import logging
import time
from collections.abc import Callable

import httpx
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode, SubStatus
from flwr.common.serde import context_from_proto, context_to_proto, run_from_proto
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.serverapp import Grid
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

_CLIENT, _SERVER = "flwr-clientapp", "flwr-serverapp"
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


class Tasks:
    """Tasks of one SuperLink or SuperNode.

    Args:
      address: of its Runtime API, ``host:port``.
      secret: that it was started with.
      certificate: PEM of the authority of its certificate; None: it speaks HTTP, on this machine.
    """

    def __init__(self, address: str, secret: bytes, certificate: bytes | None = None) -> None:
        self.address, self.certificate = address, certificate
        signed = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_ACQUIRE)
        self._asking = self._client(signed, tries=1)
        logging.getLogger("flwr").setLevel(logging.CRITICAL)  # what is wrong is said by who called

    def _client(self, interceptor: object, tries: int = 8) -> RuntimeHttpClient:
        invoker = make_simple_http_retry_invoker()
        invoker.max_tries = tries
        return RuntimeHttpClient.from_server_address(
            server_address=self.address,
            insecure=self.certificate is None,
            root_certificates=self.certificate,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec"), interceptor],
            retry_invoker=invoker,
        )

    def next(self, kind: str) -> str | None:
        """The token of a task that waits; None: none does, or nobody answers just now."""
        try:
            answer = self._asking.AcquireTask(AcquireTaskRequest(supported_task_types=[kind]))
        except httpx.HTTPError:
            return None
        return answer.token if answer.HasField("task") and answer.token else None

    def close(self) -> None:
        """End the connection."""
        self._asking.close()

    def serve(self, app: ClientApp, going_on: Callable[[], bool]) -> None:
        """Answer messages by a ClientApp, as long as it is wanted.

        Args:
          app: of this process.
          going_on: asked between tasks, and several times a second.
        """
        while going_on():
            token = self.next(_CLIENT)
            if token is None:
                time.sleep(0.1)
                continue
            self._answer(app, token)

    def _answer(self, app: ClientApp, token: str) -> None:
        client = self._client(RuntimeTokenHttpInterceptor(token))
        heart = HeartbeatSender(make_task_heartbeat_fn_http(client))
        heart.start()
        message: Message | None = None
        context: Context | None = None
        try:
            message, context, _, _ = pull_task_input(client)  # the app that it brings is left where it is
            reply, status, said = app(message=message, context=context), SubStatus.COMPLETED, ""
        except Exception as error:  # the server is told that there was one, and not what the rows made of it
            status, said = SubStatus.FAILED, type(error).__name__
            if message is None or context is None:
                raise
            reply = Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=said), reply_to=message)
        try:
            push_message(client, reply, context)
        finally:
            push_task_output(client=client, context=context, sub_status=status, details=said)
            heart.stop()
            client.close()

    def run(self, app: Callable[[Grid], None], going_on: Callable[[], bool]) -> None:
        """Run a server on the Grid of the run that was submitted.

        Args:
          app: the server.
          going_on: whether to wait on for the run.
        """
        token = None
        while token is None and going_on():
            token = self.next(_SERVER)
            time.sleep(0.1)
        if token is None:
            return
        grid = HttpGrid(self.address, self.certificate is None, self.certificate, token=token)
        client = grid._runtime_client
        heart = HeartbeatSender(make_task_heartbeat_fn_http(client))
        heart.start()
        given = client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
        TaskIdentity.node_id = given.context.node_id
        grid.set_run(run_from_proto(given.run))
        status, said = SubStatus.FAILED, "stopped"
        try:
            app(grid)
            status, said = SubStatus.COMPLETED, ""
        except Exception as error:
            said = type(error).__name__
            raise
        finally:
            context = context_to_proto(context_from_proto(given.context))
            client.PushTaskOutput(PushTaskOutputRequest(context=context, sub_status=status, details=said))
            heart.stop()
            grid.close()
