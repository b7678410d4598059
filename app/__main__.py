"""`python -m app`: the same as the command `bpjs-sms`."""

from app.faces.cli import main

main()
