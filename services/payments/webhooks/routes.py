# SPDX-License-Identifier: GPL-3.0-or-later
"""The webhook: where the provider calls us."""

from __future__ import annotations

from fastapi import APIRouter, Request

from kit import Problem, problems
from payments.deps import PartsDep
from payments.providers import WebhookRefused
from payments.providers.signatures import HEADER
from payments.webhooks.schemas import WebhookResult

router = APIRouter(tags=["webhooks"])

_CALL = {
    "parameters": [
        {"name": HEADER, "in": "header", "required": True, "schema": {"type": "string"}, "description": "t=…,v1=…"}
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}
_STATUS = {"malformed": 400, "forged": 401, "expired": 401}


@router.post("/webhook", responses=problems(400, 401, 404, 409, 413, 503), openapi_extra=_CALL)
async def hear(request: Request, parts: PartsDep) -> WebhookResult:
    """Take an event of the provider. The signature is over the raw bytes, so nothing parses them before."""
    counter = parts.metrics.webhooks
    body = await request.body()
    try:
        event = parts.cashier.provider.verify_webhook(request.headers, body)
    except WebhookRefused as refusal:
        counter.labels(refusal.reason).inc()
        challenge = {"WWW-Authenticate": HEADER} if _STATUS[refusal.reason] == 401 else None
        raise Problem(_STATUS[refusal.reason], str(refusal), headers=challenge) from None
    heard = await parts.cashier.hear(event, body)
    counter.labels(heard.replace(" ", "_")).inc()
    if heard == "unknown payment":
        raise Problem(404, "No such payment.")
    if heard == "changed":
        raise Problem(409, "An event of this id said something else before.")
    return WebhookResult(result=heard)
