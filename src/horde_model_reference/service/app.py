"""The ASGI application by the name that servers are given: `uvicorn horde_model_reference.service.app:app`."""

from horde_model_reference.service.application import create_app

__all__ = ["app", "create_app"]

app = create_app(owns_process=True)
