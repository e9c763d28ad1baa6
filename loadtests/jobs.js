// Jobs: work is handed in, and looked after. With PROFILE=stress the queue ages, and the worker is scaled by that.
import { options as profile } from "./lib/profiles.js";
import { any, expect, get, send, users, uuidv4 } from "./lib/shop.js";

export const options = profile({ rate: 30, p95: 300 });

export const setup = () => users(5);

export default function (customers) {
  const { token } = any(customers);
  const body = { kind: "checksum", payload: { text: uuidv4() } };
  const taken = send("POST", "/jobs/api/job", body, { token, headers: { "Idempotency-Key": uuidv4() } });
  if (!expect(taken, "is taken", 202)) return;
  expect(get(`/jobs/api/job/${taken.json("id")}`, { token, name: "/jobs/api/job/{id}" }), "is known");
}
