# SPDX-License-Identifier: GPL-3.0-or-later
"""The published keys, and their rotation."""

from __future__ import annotations

import math

import structlog
from fastapi import APIRouter, Response

from auth.deps import AdminDep, PartsDep
from auth.keys.ring import NotSettled
from auth.keys.schemas import KeyPublic, KeySet
from kit import Problem, problems

log = structlog.get_logger("auth.keys")

router = APIRouter(tags=["keys"])


@router.get("/.well-known/jwks.json", responses=problems(503))
async def show_keys(response: Response, parts: PartsDep) -> KeySet:
    """Publish the keys that tokens are checked with, the one that will sign next included."""
    # Shorter than a key is published before it signs.
    response.headers["Cache-Control"] = f"public, max-age={parts.settings.key_settle_seconds // 2}"
    return KeySet.model_validate(await parts.keyring.jwks())


@router.get("/keys", responses=problems(401, 403, 503))
async def list_keys(_admin: AdminDep, parts: PartsDep) -> list[KeyPublic]:
    """List the signing keys and where each stands (admin)."""
    return [KeyPublic.model_validate(key) for key in parts.keyring.listed()]


@router.post("/keys/rotate", responses=problems(401, 403, 409, 503))
async def rotate_keys(admin: AdminDep, parts: PartsDep) -> list[KeyPublic]:
    """Sign with the next key from now on (admin); tokens signed so far stay valid until their end.

    409 with Retry-After when the next key was published so recently that services may not have it yet.
    """
    try:
        await parts.keyring.tend(rotate=True)
    except NotSettled as error:
        seconds = str(math.ceil(error.seconds))
        detail = f"The next key has not been published long enough; try again in {seconds} seconds."
        raise Problem(409, detail, headers={"Retry-After": seconds}) from None
    log.info("keys rotated by hand", by=str(admin.sub))
    return [KeyPublic.model_validate(key) for key in parts.keyring.listed()]
