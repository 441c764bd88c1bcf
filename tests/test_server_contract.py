"""The OpenAPI document is true: Schemathesis makes requests from it and holds the answers against it."""

import threading

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings, strategies
from schemathesis.specs.openapi.checks import positive_data_acceptance
from test_server import PHOTO, POINTS, wait_until

from objremove import plugins
from objremove.server.app import create_app
from objremove.server.settings import Settings

app = create_app(Settings(segmenter="counted", inpainter="telea", offline=True, queue=100, keep_megabytes=20))
schemathesis.openapi.format("binary", strategies.sampled_from([PHOTO, PHOTO[:500], b"no picture"]))
schema = schemathesis.openapi.from_dict(app.openapi())


@pytest.fixture(scope="module")
def address():
    """The server in a thread of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", lambda group: POINTS[group])
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            port = server.servers[0].sockets[0].getsockname()[1]
            wait_until(lambda: app.state.server.ready)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(60)


@schema.parametrize()
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case, address):
    # Which fields go together, and that there is something red in the photo, no schema can say.
    case.call_and_validate(base_url=address, timeout=60, excluded_checks=[positive_data_acceptance])
