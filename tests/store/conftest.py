"""A store that speaks S3: moto's server, which keeps what it is sent in memory."""

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "models"


@pytest.fixture(scope="session")
def s3_server():
    """Address of a server with one bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client("s3", "us-east-1", endpoint_url=address, aws_access_key_id="a", aws_secret_access_key="b")
    client.create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """URL of the bucket, and the variables by which clients find it."""
    variables = {
        "ENDPOINT_URL": s3_server,
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return f"s3://{BUCKET}"
