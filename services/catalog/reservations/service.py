# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting stock aside, selling it, giving it back.

Everybody locks in the same order, the reservation and then the stock by product, so no two can wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.products.models import Product
from catalog.reservations.models import Line, Reservation, State
from catalog.reservations.schemas import LineCreate
from catalog.stock import service as stock
from catalog.stock.models import Stock
from kit import Problem


class Refused(Problem):
    """Nothing was changed; `outcome` is the reason in one word, `short` how many products there is not enough of."""

    def __init__(self, status: int, outcome: str, detail: str, *, short: int = 0) -> None:
        super().__init__(status, detail)
        self.outcome = outcome
        self.short = short


async def reserve(*, session: AsyncSession, order_id: UUID, asked: Sequence[LineCreate]) -> tuple[Reservation, str]:
    """Set everything aside, or raise Refused. Returns the reservation and "reserved", or "repeated" for a known one."""
    if not await _begin(session=session, order_id=order_id, state=State.RESERVED):
        known = await _locked(session=session, order_id=order_id)
        assert known is not None  # reservations are never deleted
        _check_same(known, asked)
        return known, "repeated"
    wanted = {line.product_id: line.quantity for line in asked}
    shelf = await stock.lock(session=session, product_ids=wanted)
    # Read after the locks: nobody is charged a price that was changed before their turn came.
    products = {product.id: product for product in await session.scalars(select(Product).where(Product.id.in_(wanted)))}
    currency = check(wanted, products, shelf)
    reservation = await session.get_one(Reservation, order_id)
    for product_id, quantity in wanted.items():
        shelf[product_id].reserved += quantity
        shelf[product_id].version += 1
        product = products[product_id]
        reservation.lines.append(
            Line(product_id=product_id, name=product.name, quantity=quantity, unit_cents=product.price_cents)
        )
    reservation.lines.sort(key=lambda line: line.product_id)
    reservation.total_cents = sum(line.quantity * line.unit_cents for line in reservation.lines)
    reservation.currency = currency
    return reservation, "reserved"


def check(wanted: Mapping[UUID, int], products: Mapping[UUID, Product], shelf: Mapping[UUID, Stock]) -> str:
    """Return the currency of an order that can be met; raise Refused for any other."""
    if unknown := [str(product_id) for product_id in wanted if product_id not in products]:
        raise Refused(422, "unknown_product", f"There is no such product: {', '.join(unknown)}.")
    if gone := [products[product_id].sku for product_id in wanted if not products[product_id].active]:
        raise Refused(409, "not_for_sale", f"No longer for sale: {', '.join(gone)}.")
    currencies = {products[product_id].currency for product_id in wanted}
    if len(currencies) > 1:
        raise Refused(422, "mixed_currencies", f"One order, one currency: these have {', '.join(sorted(currencies))}.")
    short = [product_id for product_id, quantity in wanted.items() if quantity > shelf[product_id].available]
    if short:
        named = (f"{products[product_id].sku} ({shelf[product_id].available} left)" for product_id in short)
        raise Refused(409, "out_of_stock", f"Not enough in stock: {', '.join(named)}.", short=len(short))
    return currencies.pop()


async def commit(*, session: AsyncSession, order_id: UUID) -> tuple[Reservation, str]:
    """Take what was set aside off the shelf: it is sold. Harmless when done again."""
    reservation = await _locked(session=session, order_id=order_id)
    if reservation is None:
        raise Refused(409, "unknown", "Nothing was reserved for this order.")
    if reservation.state == State.RELEASED:
        raise Refused(409, "conflict", "This reservation was released: what it held may be sold already.")
    if reservation.state == State.COMMITTED:
        return reservation, "repeated"
    await _settle(session=session, reservation=reservation, state=State.COMMITTED)
    return reservation, "committed"


async def release(*, session: AsyncSession, order_id: UUID) -> str:
    """Give back what was set aside. Harmless when done again; returns what happened.

    An order that never reserved is noted as released: its ask may still be on the way, and must not be met any more.
    """
    if await _begin(session=session, order_id=order_id, state=State.RELEASED):
        return "released"
    reservation = await _locked(session=session, order_id=order_id)
    assert reservation is not None
    if reservation.state == State.COMMITTED:
        raise Refused(409, "conflict", "This reservation was committed: it is sold.")
    if reservation.state == State.RELEASED:
        return "repeated"
    await _settle(session=session, reservation=reservation, state=State.RELEASED)
    return "released"


async def _begin(*, session: AsyncSession, order_id: UUID, state: State) -> bool:
    """Note a new reservation; False when there is one, also one that is being made right now (which is waited for)."""
    statement = insert(Reservation).values(order_id=order_id, state=state, total_cents=0, currency="")
    statement = statement.on_conflict_do_nothing()
    return (await session.scalar(statement.returning(Reservation.order_id))) is not None


async def _locked(*, session: AsyncSession, order_id: UUID) -> Reservation | None:
    return await session.get(Reservation, order_id, with_for_update=True)


async def _settle(*, session: AsyncSession, reservation: Reservation, state: State) -> None:
    """End a reservation: nothing is set aside any more, and what is sold is no longer on hand."""
    shelf = await stock.lock(session=session, product_ids=[line.product_id for line in reservation.lines])
    for line in reservation.lines:
        row = shelf[line.product_id]
        row.reserved -= line.quantity
        if state is State.COMMITTED:
            row.on_hand -= line.quantity
        row.version += 1
    reservation.state = state


def _check_same(known: Reservation, asked: Sequence[LineCreate]) -> None:
    if known.state == State.RELEASED:
        raise Refused(409, "conflict", "This order's reservation was released.")
    if {line.product_id: line.quantity for line in known.lines} != {line.product_id: line.quantity for line in asked}:
        raise Refused(409, "differs", "This order has reserved something else.")
