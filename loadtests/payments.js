// Payments: only other services may ask for one, so its load comes by way of orders; here are those who look and those who forge.
import http from "k6/http";
import { options as profile } from "./lib/profiles.js";
import { any, expect, get, send, users, uuidv4 } from "./lib/shop.js";

const REFUSED = http.expectedStatuses(400, 401, 403, 404);

export const options = profile({ rate: 60, p95: 150 });

export const setup = () => users(3);

export default function (customers) {
  const { token } = any(customers);
  const unknown = get(`/payments/status/${uuidv4()}`, { token, name: "/payments/status/{id}", responseCallback: REFUSED });
  expect(unknown, "another's payment is not found", 404);
  const forged = send("POST", "/payments/webhook", { id: uuidv4(), type: "charge.captured" }, {
    headers: { "OpsForge-Signature": `t=${Math.floor(Date.now() / 1000)},v1=${"0".repeat(64)}` },
    responseCallback: REFUSED,
  });
  expect(forged, "a forged webhook is refused", 401);
}
