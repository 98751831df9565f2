"""A refresh every night, for Airflow 3: put this into the dags folder, and its worker where the job server is reached.

The worker has a checkout, and the token in its environment (a secrets backend) or in ~/.ray/auth_token. Stopping the
task stops the job; a retry is a new submission, which goes on from what was published.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

CHECKOUT = "/srv/motherlode"
COMMAND = "python -m jobs.mine --config /etc/motherlode/run.yaml"
SUBMISSION_ID = "refresh-{{ dag_run.run_after | ts_nodash }}-{{ ti.try_number }}"

with DAG(
    "motherlode_refresh",
    schedule="17 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
) as dag:
    BashOperator(
        task_id="mine",
        bash_command=f".venv/bin/python infra/submit.py --id {SUBMISSION_ID} -- {COMMAND}",
        cwd=CHECKOUT,
        env={"RAY_ADDRESS": "http://127.0.0.1:8265", "RAY_AUTH_MODE": "token"},
        append_env=True,
        retries=2,
        retry_delay=timedelta(minutes=10),
    )
