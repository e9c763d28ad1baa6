// How hard and how long: every profile is bounded in rate, in users and in time.
// Rates are iterations a second of the script's own step, open-loop: a slow answer does not slow the next one down.

// k6 takes whole rates only.
const whole = (rate) => (rate > 0 ? Math.max(1, Math.round(rate)) : 0);

const arrivals = (startRate, stages, maxVUs) => ({
  executor: "ramping-arrival-rate",
  startRate: whole(startRate),
  timeUnit: "1s",
  preAllocatedVUs: Math.min(20, maxVUs),
  maxVUs,
  stages: stages.map(([duration, target]) => ({ duration, target: whole(target) })),
});

const PROFILES = {
  // Does it work at all? Seconds; what CI runs.
  smoke: () => arrivals(5, [["10s", 5]], 10),
  // A usual day.
  load: (rate) => arrivals(1, [["10s", rate], ["60s", rate], ["5s", 0]], 100),
  // Ten times the usual, all at once, and back: does it come back?
  spike: (rate) => arrivals(rate / 5, [["20s", rate / 5], ["3s", rate * 2], ["20s", rate * 2], ["3s", rate / 5], ["20s", rate / 5]], 200),
  // Beyond the usual for long enough that the autoscaler has to act.
  stress: (rate) => arrivals(rate / 2, [["30s", rate], ["90s", rate * 1.5], ["60s", rate * 1.5], ["20s", 0]], 200),
  // Up and up, until a threshold breaks and ends the run: the last rate is what it can take.
  breakpoint: (rate) => arrivals(rate / 2, [["180s", rate * 6]], 300),
  // Not hard, but long: leaks show.
  endurance: (rate) => arrivals(1, [["20s", rate / 3], ["30m", rate / 3], ["10s", 0]], 60),
};

// The options of a script: `rate` is a usual day's iterations a second on two cores, `p95` the milliseconds that 95% may take.
// `slow` are more thresholds of how long answers may take.
export function options({ rate, p95, slow = {} }) {
  const profile = __ENV.PROFILE || "smoke";
  if (!(profile in PROFILES)) {
    throw new Error(`there is no profile '${profile}': choose one of ${Object.keys(PROFILES).join(", ")}`);
  }
  const ends = profile === "breakpoint";
  // A service that is told to break may be slow, but what it must not do is fail.
  const patience = { load: 1, endurance: 1, spike: 4, stress: 4, breakpoint: 4 }[profile];
  const bounded = (threshold) => [{ threshold, abortOnFail: ends, delayAbortEval: "10s" }];
  // Ten seconds on a machine that may be busy with other things say whether it works, and not how fast.
  const fast = profile === "smoke" ? {} : { "http_req_duration{setup:no}": bounded(`p(95)<${p95 * patience}`), ...slow };
  return {
    scenarios: { [profile]: PROFILES[profile](rate) },
    thresholds: { checks: bounded("rate>0.99"), http_req_failed: bounded("rate<0.01"), ...fast },
    tags: { setup: "no" },
    noConnectionReuse: false,
    discardResponseBodies: false,
    summaryTrendStats: ["med", "p(95)", "p(99)", "max"],
  };
}
