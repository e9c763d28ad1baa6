// A way into the shop through its entrance. Load goes to this machine only.
import http from "k6/http";
import { check, fail, sleep } from "k6";
import { uuidv4 } from "./uuid.js";

const BASE = __ENV.BASE_URL || "http://127.0.0.1:8080";
if (!/^https?:\/\/(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?$/.test(BASE)) {
  throw new Error(`${BASE} is not a loopback address: load is sent to this machine only`);
}

const PASSWORD = `load-${uuidv4()}`;

// `name` groups the answers of one route: paths hold ids.
function params(token, name, headers = {}, extra = {}) {
  const all = { "Content-Type": "application/json", ...headers };
  if (token) all.Authorization = `Bearer ${token}`;
  return { headers: all, timeout: "10s", ...extra, tags: { name, ...(extra.tags || {}) } };
}

export function get(path, { token, name = path, ...extra } = {}) {
  return http.get(`${BASE}${path}`, params(token, name, {}, extra));
}

export function send(method, path, body, { token, name = path, headers = {}, ...extra } = {}) {
  return http.request(method, `${BASE}${path}`, body === null ? null : JSON.stringify(body), params(token, name, headers, extra));
}

export function expect(answer, what, status = 200) {
  return check(answer, { [what]: (seen) => seen.status === status });
}

// Signs up `count` users; used once, before the load: hashing passwords is slow on purpose, and limited.
export function users(count) {
  const found = [];
  for (let number = 0; number < count; number++) {
    const email = `load-${uuidv4()}@example.org`;
    const credentials = { email, password: PASSWORD };
    const quiet = { tags: { setup: "yes" } };
    must(() => send("POST", "/auth/signup", credentials, quiet), 201, "sign-up");
    const login = must(() => send("POST", "/auth/login", credentials, quiet), 200, "log-in");
    found.push({ email, password: PASSWORD, token: login.json("access_token") });
  }
  return found;
}

// The limits of sign-up and log-in are told by 429 and Retry-After: wait as asked, a few times.
function must(ask, status, what) {
  for (let attempt = 0; attempt < 10; attempt++) {
    const answer = ask();
    if (answer.status === status) return answer;
    if (answer.status !== 429) fail(`${what}: ${answer.status} ${answer.body}`);
    sleep(Math.min(Number(answer.headers["Retry-After"] || 1), 10));
  }
  return fail(`${what}: still refused with 429`);
}

// Somebody who may add products and read what analysts read; the password is the platform's (see README).
export function admin() {
  const email = __ENV.ADMIN_EMAIL || "admin@opsforge.local";
  const password = __ENV.ADMIN_PASSWORD || fail("set ADMIN_PASSWORD");
  return must(() => send("POST", "/auth/login", { email, password }, { tags: { setup: "yes" } }), 200, "admin's log-in").json("access_token");
}

export function products() {
  const answer = get("/catalog/products?limit=50", { name: "/catalog/products", tags: { setup: "yes" } });
  const found = answer.json("items");
  if (!found || !found.length) fail(`the catalogue is empty: ${answer.status} ${answer.body}`);
  return found;
}

export const any = (list) => list[Math.floor(Math.random() * list.length)];
export { uuidv4 };
