// Notifications: people look into their inbox.
import { options as profile } from "./lib/profiles.js";
import { any, expect, get, users } from "./lib/shop.js";

export const options = profile({ rate: 100, p95: 150 });

export const setup = () => users(5);

export default function (customers) {
  expect(get("/notifications/notifications", { token: any(customers).token }), "shows the inbox");
}
