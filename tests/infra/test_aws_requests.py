"""Real jobs on a real S3 server, behind a proxy that refuses what the stack's policies do not allow."""

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.faults.job_server import JobServer
from tests.faults.store_faults import answer_error
from tests.faults.store_proxy import FOREVER, Exchange, StoreProxy
from tests.infra.policies import Request, allows, stack, statements
from tests.support.jobs import TINY, environment
from tests.support.raylets import raylets
from tests.support.s3_server import BUCKET

ACTIONS = {"GET": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}
HEAD = [name for name in stack()["HeadRole"]["Properties"]["ManagedPolicyArns"] if name != "LauncherPolicy"]
HUBS_LEFT_OUT = ("--mining.audit.quarantine=exclude", "--mining.audit.max_hub_factor=1.5")
JOBS = (
    ("prepare", ["ReaderPolicy", "OperatorPolicy"], ()),
    ("train", ["ReaderPolicy", "TrainerPolicy"], ("--training.source=random",)),
    ("mine", ["ReaderPolicy", "MinerPolicy"], HUBS_LEFT_OUT),
    ("evaluate", ["ReaderPolicy", "OperatorPolicy"], ()),
    ("export", ["ReaderPolicy", "OperatorPolicy"], ()),
    ("loop", HEAD, ("--run=second", "--training.num_steps=4")),
    ("triplets", ["ReaderPolicy"], ()),
    ("prune", ["ReaderPolicy", "PrunerPolicy"], ("--retention.keep_generations=1", "--retention.keep_checkpoints=1")),
)


class Guard:
    """Answers 403 where no statement allows a request; keeps which statements allowed one."""

    __name__ = "Guard"

    def __init__(self, policies: list[str]) -> None:
        self.statements = statements(*policies)
        self.used: set[str] = set()
        self.refused: list[Request] = []

    def __call__(self, exchange: Exchange) -> None:
        url = urlsplit(exchange.path)
        query = parse_qs(url.query, keep_blank_values=True)
        key = unquote(url.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        if "list-type" in query:
            request = Request("s3:ListBucket", query["prefix"][0])
        else:
            request = Request(ACTIONS[exchange.command], key)
        allowing = [one["Sid"] for one in self.statements if allows(one, request)]
        creates = exchange.headers.get("If-None-Match") == "*"
        if not allowing or (exchange.command == "PUT" and "/manifests/" in key and not creates):
            self.refused.append(request)
            answer_error(exchange, 403, "AccessDenied")
            return
        self.used |= set(allowing)
        exchange.answer(exchange.forward())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_job_does_its_work_with_the_rights_that_its_policy_gives(store_proxy: StoreProxy, tmp_path: Path) -> None:
    used: dict[str, set[str]] = {}
    with (
        raylets(8) as cluster,
        JobServer(tmp_path / "log", environment(**cluster.environ), *(name for name, *_ in JOBS)) as server,
    ):
        for name, policies, more in JOBS:
            guard = Guard(policies)
            store_proxy.mend()
            store_proxy.inject(guard, times=FOREVER)
            before = ("summary",) if name == "triplets" else ()
            flags = (*TINY, f"--cluster.address={cluster.address}", f"--workspace=s3://{BUCKET}/faces")
            code, words = server.run(name, *before, "--config=jobs/configs/demo.yaml", *flags, *more)
            assert code == 0 and not guard.refused, (name, guard.refused[:3], words[-2000:])
            for policy in policies:
                used[policy] = used.get(policy, set()) | guard.used
    for policy, sids in used.items():  # and no right is idle, but for those that only a mishap asks for
        given = {one["Sid"] for one in statements(policy)}
        assert given - sids <= {"DeleteOwnParts", "DeleteOwnShards"}, policy
