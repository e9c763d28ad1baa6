// Analytics: events come in batches.
import { options as profile } from "./lib/profiles.js";
import { any, expect, send, users, uuidv4 } from "./lib/shop.js";

export const options = profile({ rate: 30, p95: 300 });

export const setup = () => users(5);

export default function (customers) {
  const time = new Date().toISOString();
  const events = Array.from({ length: 20 }, () => ({ id: uuidv4(), type: "page.viewed", time, data: { page: "/" } }));
  expect(send("POST", "/analytics/events", { events }, { token: any(customers).token }), "takes a batch");
}
