"""The HTTP face: `create_app` builds it, uvicorn serves it."""
