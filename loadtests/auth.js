// Auth: mostly tokens being refreshed and looked at, some log-ins. `k6 run -e PROFILE=spike loadtests/auth.js`
import { options as profile } from "./lib/profiles.js";
import { any, expect, get, send, users } from "./lib/shop.js";

// A log-in costs a password hash, and too many at once are refused by 429: that is an answer, not a failure.
export const options = profile({ rate: 60, p95: 250, slow: { "http_req_duration{name:/auth/me}": ["p(95)<100"] } });

export const setup = () => users(5);

export default function (customers) {
  const customer = any(customers);
  expect(get("/auth/me", { token: customer.token }), "knows me");
  expect(send("POST", "/auth/validate", { token: customer.token }), "token is good");
  expect(get("/auth/.well-known/jwks.json"), "shows its keys");
}
