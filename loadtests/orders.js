// Orders: cart, checkout, look. Each iteration is a whole order: stock, payment and notification follow from it.
import http from "k6/http";
import { options as profile } from "./lib/profiles.js";
import { any, expect, get, products, send, users, uuidv4 } from "./lib/shop.js";

const EMPTY_IS_AN_ANSWER = http.expectedStatuses(201, 409, 422);

export const options = profile({ rate: 8, p95: 1500 });

export const setup = () => ({ customers: users(20), items: products() });

export default function ({ customers, items }) {
  const { token } = any(customers);
  const cart = `/orders/cart/items/${any(items).id}`;
  expect(send("PUT", cart, { quantity: 1 }, { token, name: "/orders/cart/items/{id}" }), "into the cart");
  // The same customer may be checking out twice at once: then one of them finds the cart empty, and is told so.
  const placed = send("POST", "/orders/checkout", { payment_method: "tok_ok" }, {
    token,
    headers: { "Idempotency-Key": uuidv4() },
    responseCallback: EMPTY_IS_AN_ANSWER,
  });
  if (placed.status !== 201) return;
  expect(get(`/orders/orders/${placed.json("id")}`, { token, name: "/orders/orders/{id}" }), "shows the order");
}
