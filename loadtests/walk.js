// The walk through the shop by many at once: browse, order, be notified.
import http from "k6/http";
import { sleep } from "k6";
import { options as profile } from "./lib/profiles.js";
import { any, expect, get, products, send, users, uuidv4 } from "./lib/shop.js";

const EMPTY_IS_AN_ANSWER = http.expectedStatuses(201, 409, 422);

export const options = profile({ rate: 4, p95: 1500 });

export const setup = () => ({ customers: users(20), items: products() });

export default function ({ customers, items }) {
  const { token } = any(customers);
  expect(get("/catalog/products?limit=20", { name: "/catalog/products" }), "lists");
  const product = any(items);
  expect(get(`/catalog/products/${product.id}`, { name: "/catalog/products/{id}" }), "shows");
  const cart = `/orders/cart/items/${product.id}`;
  expect(send("PUT", cart, { quantity: 1 }, { token, name: "/orders/cart/items/{id}" }), "into the cart");
  const headers = { "Idempotency-Key": uuidv4() };
  const placed = send("POST", "/orders/checkout", { payment_method: "tok_ok" }, { token, headers, responseCallback: EMPTY_IS_AN_ANSWER });
  if (placed.status !== 201) return;
  const path = `/orders/orders/${placed.json("id")}`;
  const name = "/orders/orders/{id}";
  for (let look = 0; look < 20; look++) {
    const state = get(path, { token, name }).json("state");
    if (["fulfilled", "paid"].includes(state)) break;
    sleep(0.5);
  }
  expect(get(path, { token, name }), "shows the order");
}
