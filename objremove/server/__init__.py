"""The server of `objremove serve`: an HTTP API and a page before one `Remover`'s worth of models (extra `serve`).

    from objremove.server.app import create_app
    from objremove.server.settings import Settings
    app = create_app(Settings())        # any ASGI server runs it; `objremove serve` does so with uvicorn

One thread works on the models, one request after another, from a queue of bounded length. Photos, masks and results live in memory
until they expire; nothing is fetched for a client but weights of the registry, and no name that a client sends becomes a path.
"""
