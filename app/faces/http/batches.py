"""`/v1/batches`: a file of cards in, the same file with answers out."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.domain.errors import Conflict, GatewayError
from app.domain.services import Rendered, Service
from app.exchange.batches import cancel_queued, seconds_until_done
from app.faces import files
from app.faces.files import Answer, Layout, Sheet
from app.faces.http.checks import Plain, idempotency_key
from app.faces.http.face import Face, JsonResponse, face_of, listed, read_body
from app.faces.http.gate import needs
from app.faces.http.problems import invalid
from app.faces.http.views import Views, stamp
from app.store import batches
from app.store.batches import BatchView, Row, RowView
from app.store.clients import KeyView, recall, remember, write_audit
from app.store.engine import Tx
from app.store.lanes import list_lanes

router = APIRouter(prefix="/v1/batches", tags=["batches"])

ERRORS_SHOWN = 1000  # the rest is counted in `errors_total`, and stands in the results
RECEIVED_TOGETHER = 2000  # rows a transaction while a file comes in (design, section 4)
CANCELLED_AT_ONCE = 5  # chunks that the call itself cancels; the worker does the rest
WRITTEN_TOGETHER = 65536  # bytes of results handed over at a time
_SPLIT = "Split the file, or let the operator raise [server] max_batch."
_CSV_TYPES = ("text/csv", "application/csv")


class NewBatch(BaseModel):
    """How to read the file in the body."""

    model_config = ConfigDict(extra="forbid")

    service: Plain
    dry_run: bool = Field(
        default=False, description="true: tell rows, faults, cost and time, and store nothing"
    )
    column: Plain | None = Field(
        default=None, description="the numbers' column, by its heading or counted from 1"
    )
    priority: int = Field(
        default=batches.PRIORITY, ge=0, le=9, description="0 goes first; a single check has 5"
    )


class BatchesQuery(BaseModel):
    """Which batches to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=1000)
    cursor: Plain | None = None


class ResultsQuery(BaseModel):
    """How to write the results."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["csv"] = "csv"


@dataclass(frozen=True, slots=True)
class Plan:
    """A file that was read: what would be asked, and what is wrong with the other rows."""

    service: Service
    sheet: Sheet
    rows: list[Row]
    errors: list[dict[str, Any]]
    questions: int

    @property
    def duplicates(self) -> int:
        return len(self.rows) - len(self.errors) - self.questions


def plan(service: Service, data: bytes, column: str | None) -> Plan:
    """Read a whole file. GatewayError where it cannot be read; a wrong row is only an entry in `errors`."""
    sheet = files.read_csv(data, service, column)
    columns = sheet.layout.columns
    rows: list[Row] = []
    errors: list[dict[str, Any]] = []
    first: dict[str, int] = {}
    for number, cells in sheet.rows:
        found = files.read_row(service, columns, number, cells)
        if isinstance(found, Rendered):
            twin = first.setdefault(service.key(found.fields), number)
            reference = files.reference_of(columns, cells)
            rows.append(
                Row(number, tuple(cells), found.fields, reference, None, twin if twin != number else None)
            )
        else:
            errors.append(found)
            fault = {"code": found["code"], "detail": found["detail"]}
            rows.append(Row(number, tuple(cells), None, None, fault))
    return Plan(service, sheet, rows, errors, len(first))


@router.post(
    "",
    status_code=202,
    summary="Ask about every card of a file",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/csv": {
                    "schema": {"type": "string"},
                    "examples": {"cards": {"value": "nama,kpj\nAni,99012345678\nBudi,99012345686\n"}},
                },
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": {"type": "string", "format": "binary"}},
                    }
                },
            },
        }
    },
)
async def create_batch(
    request: Request,
    query: Annotated[NewBatch, Query()],
    key: Annotated[KeyView, Depends(needs("batches:write"))],
) -> Response:
    """202 once every row is durable; wrong rows come back as `rejected`. `Idempotency-Key` makes sending again safe."""
    face = face_of(request)
    service = face.catalogue[query.service]
    if not service.enabled:
        fault = {
            "field": "service",
            "code": "disabled",
            "detail": f'the service "{service.name}" is switched off',
        }
        raise invalid([fault])
    once = idempotency_key(request)
    data, file_name = await _file_of(request, face)
    planned = await run_in_threadpool(plan, service, data, query.column)
    if query.dry_run:
        return JsonResponse(await run_in_threadpool(_dry_shape, face, planned))
    digest = hashlib.sha256(f"batches\0{query.model_dump_json()}\0".encode() + data).digest() if once else b""
    batch_id, replayed = await run_in_threadpool(_receive, face, planned, query, key, file_name, once, digest)
    if not replayed:
        face.nudge()
    headers = {"Location": f"/v1/batches/{batch_id}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    shape = await run_in_threadpool(_shape_of, face, batch_id, key)
    return JsonResponse(shape, status_code=202, headers=headers)


@router.get("", summary="List batches, newest first, without their rows' errors")
async def get_batches(
    request: Request,
    query: Annotated[BatchesQuery, Query()],
    key: Annotated[KeyView, Depends(needs("batches:read"))],
) -> Response:
    """`next` goes into `cursor`."""
    face = face_of(request)

    def work() -> dict[str, Any]:
        found = face.store.read(
            lambda tx: batches.list_batches(tx, client=key.sees, limit=query.limit + 1, before=query.cursor)
        )
        page = found[: query.limit]
        following = page[-1].id if len(found) > query.limit else None
        return listed([_shape(face, batch) for batch in page], following)

    return JsonResponse(await run_in_threadpool(work))


@router.get("/{id}", summary="One batch: how far it is, what it cost, when it may be done")
async def get_one_batch(
    request: Request, id: str, key: Annotated[KeyView, Depends(needs("batches:read"))]
) -> Response:
    """`errors` holds the first 1,000 wrong rows, `errors_total` how many there are."""
    return JsonResponse(await run_in_threadpool(_shape_of, face_of(request), id, key))


@router.delete("/{id}", summary="Cancel what is still queued of a batch")
async def cancel_batch(
    request: Request, id: str, key: Annotated[KeyView, Depends(needs("batches:write"))]
) -> Response:
    """What may be on the air goes on, and its answers stand in the results. 409 once the batch is done."""
    face = face_of(request)
    now = face.clock()

    def mark(tx: Tx) -> None:
        if batches.ask_cancel(tx, id, client=key.sees, by=key.client):
            write_audit(tx, key.client, "batch.cancel", id, now)

    def work() -> dict[str, Any]:
        face.store.write(mark)
        cancel_queued(face.store, id, key.client, now, most=CANCELLED_AT_ONCE)
        return _shape_of(face, id, key)

    shape = await run_in_threadpool(work)
    face.nudge()
    return JsonResponse(shape)


@router.get("/{id}/results", summary="The same rows in the same order, with their answers")
async def get_results(
    request: Request,
    id: str,
    query: Annotated[ResultsQuery, Query()],
    key: Annotated[KeyView, Depends(needs("batches:read"))],
) -> Response:
    """At any time, also before the end. The file's own cells come back as they were handed in, since whoever may see the
    batch has them; what the service said is masked without `raw:read`."""
    face = face_of(request)

    def look() -> tuple[BatchView, set[str]]:
        return face.store.read(lambda tx: (batches.get(tx, id, key.sees), batches.record_fields(tx, id)))

    batch, seen = await run_in_threadpool(look)
    layout = Layout.from_dict(batch.layout)
    if batch.service in face.catalogue:
        added = files.answer_columns(face.catalogue[batch.service], seen)
    else:
        added = ["state", "outcome", *(name for name in files.RECORD_COLUMNS if name in seen), "error"]
    rows = _answered_rows(face, batch, Views(face.catalogue, key))
    return StreamingResponse(
        _joined(files.write_csv(batch.heading, layout, added, rows)),
        media_type=f"text/csv; charset={layout.charset}; header=present",
        headers={"Content-Disposition": f'attachment; filename="{batch.id}-results.csv"'},
    )


# -- the body -----------------------------------------------------------------------------------------------------


async def _file_of(request: Request, face: Face) -> tuple[bytes, str | None]:
    """The file and its name, from the body itself or from the `file` of a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _CSV_TYPES:
        return await read_body(request, face.settings.server.max_batch, _SPLIT), None
    if kind != "multipart/form-data":
        said = f'"{kind}"' if kind else "nothing"
        raise GatewayError(
            "unsupported_type",
            f"Content-Type says {said}, but a batch is a CSV: send the file with Content-Type: text/csv "
            "(a spreadsheet saves one as CSV UTF-8).",
        )
    body = await read_body(request, face.settings.server.max_batch, _SPLIT)

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, whole(), max_files=1, max_fields=0).parse()
    except (MultiPartException, KeyError) as error:
        raise GatewayError(
            "malformed", f"The form cannot be read ({error}). Send one part, named file."
        ) from None
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        raise GatewayError(
            "malformed", 'The form has no file named "file". Send it so: curl -F file=@cards.csv'
        )
    data = await upload.read()
    await form.close()
    return data, upload.filename or None


def _receive(
    face: Face,
    planned: Plan,
    query: NewBatch,
    key: KeyView,
    file_name: str | None,
    once: str | None,
    digest: bytes,
) -> tuple[str, bool]:
    """Store every row; the batch's id, and whether this Idempotency-Key had made it before."""
    store, now = face.store, face.clock()

    def begin(tx: Tx) -> tuple[str, bool]:
        seen = recall(tx, key.client, once, digest, now) if once else None
        if seen is not None and seen.batch_id is not None:
            if batches.still_receiving(tx, seen.batch_id):
                raise Conflict(
                    "The request with this Idempotency-Key is still running. Send it again in a moment."
                )
            return seen.batch_id, True
        batch_id = batches.create(
            tx,
            client=key.client,
            service=planned.service.name,
            file_name=file_name,
            layout=planned.sheet.layout.as_dict(),
            heading=planned.sheet.heading,
            priority=query.priority,
            now=now,
        )
        if once:
            remember(tx, key.client, once, digest, now=now, batch_id=batch_id)
        return batch_id, False

    batch_id, replayed = store.write(begin)
    if replayed:
        return batch_id, True
    try:
        # Sealing the next chunk while the last one is written.
        written = [
            store.submit(
                partial(
                    batches.add_rows,
                    sealed=batches.seal_rows(store.keys, batch_id, planned.rows[at : at + RECEIVED_TOGETHER]),
                )
            )
            for at in range(0, len(planned.rows), RECEIVED_TOGETHER)
        ]
        wait(written)  # all of them, so that none comes in behind a drop
        for chunk in written:
            chunk.result()
        store.write(
            lambda tx: batches.finish_receiving(
                tx, batch_id, rows=len(planned.rows), rejected=len(planned.errors)
            )
        )
    except Exception:
        store.submit(lambda tx: batches.drop_received(tx, batch_id))
        raise
    return batch_id, False


# -- shapes -------------------------------------------------------------------------------------------------------


def _shape(face: Face, batch: BatchView) -> dict[str, Any]:
    left = batch.counts["queued"] + batch.counts["waiting"]
    eta = 0 if left == 0 else _seconds(face, batch.service, left)
    return {
        "id": batch.id,
        "service": batch.service,
        "state": batch.state,
        "rows": batch.rows,
        "rejected": batch.rejected,
        "counts": batch.counts,
        "cost": batch.cost,
        "eta": eta,
        "created_at": stamp(batch.created_at),
    }


def _shape_of(face: Face, batch_id: str, key: KeyView) -> dict[str, Any]:
    def look(tx: Tx) -> tuple[BatchView, list[dict[str, Any]]]:
        batch = batches.get(tx, batch_id, key.sees)
        return batch, batches.row_errors(tx, batch_id, ERRORS_SHOWN) if batch.rejected else []

    batch, errors = face.store.read(look)
    return {**_shape(face, batch), "errors": errors, "errors_total": batch.rejected}


def _dry_shape(face: Face, planned: Plan) -> dict[str, Any]:
    price = planned.service.price
    return {
        "service": planned.service.name,
        "rows": len(planned.rows),
        "rejected": len(planned.errors),
        "questions": planned.questions,
        "duplicates": planned.duplicates,
        "cost": planned.questions * (price.request + price.reply),
        "eta": _seconds(face, planned.service.name, planned.questions),
        "errors": planned.errors[:ERRORS_SHOWN],
        "errors_total": len(planned.errors),
    }


def _seconds(face: Face, service: str, questions: int) -> int | None:
    if service not in face.catalogue:
        return None
    return seconds_until_done(questions, face.catalogue[service], face.store.read(list_lanes))


def _answered_rows(face: Face, batch: BatchView, views: Views) -> Iterator[tuple[list[str], Answer]]:
    after, page = 0, None
    while page is None or len(page) == batches.CHUNK:
        page = face.store.read(partial(batches.rows_with_answers, batch_id=batch.id, after_row=after))
        for row in page:
            yield row.cells, _answer(row, batch.state, views)
            after = row.number


def _answer(row: RowView, batch_state: str, views: Views) -> Answer:
    if row.error is not None:
        return Answer("rejected", None, {}, row.error["detail"])
    if row.check is None:
        return Answer("cancelled" if batch_state == "cancelled" else "queued", None, {}, None)
    shape = views.check(row.check)
    error = shape["error"]
    return Answer(shape["state"], shape["outcome"], shape["record"] or {}, error and error["detail"])


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines in pieces worth a turn of the event loop."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= WRITTEN_TOGETHER:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
