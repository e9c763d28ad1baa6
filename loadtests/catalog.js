// Catalog: people look around. `k6 run -e PROFILE=load loadtests/catalog.js`
import { options as profile } from "./lib/profiles.js";
import { any, expect, get, products } from "./lib/shop.js";

export const options = profile({ rate: 60, p95: 150 });

export const setup = () => products();

export default function (items) {
  const product = any(items);
  expect(get("/catalog/products?limit=20", { name: "/catalog/products" }), "lists");
  expect(get(`/catalog/products?q=${encodeURIComponent(product.name.split(" ")[0])}`, { name: "/catalog/products?q" }), "finds");
  expect(get(`/catalog/products/${product.id}`, { name: "/catalog/products/{id}" }), "shows");
}
