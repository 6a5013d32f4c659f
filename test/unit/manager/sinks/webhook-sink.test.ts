import { describe, expect, test } from "vitest";
import { parseRetryAfter, WebhookSink } from "../../../../manager/sinks/webhook-sink.ts";
import { HOST, nextEvent, NOON } from "./events.ts";

function sinkTo(url: string, secrets: string[] = []): WebhookSink {
  return new WebhookSink({ url, secrets, format: "cloudevents", host: HOST, guard: undefined, allowsHttp: false });
}

describe("Retry-After", () => {
  test.each([
    ["120", 120_000],
    ["0", 0],
    ["999999999999", 86_400_000],
    ["Fri, 20 Nov 2026 12:01:00 GMT", 60_000],
    ["Fri, 20 Nov 2026 11:00:00 GMT", 0],
    ["Fri, 20 Nov 2099 11:00:00 GMT", 86_400_000],
    ["soon", undefined],
    ["", undefined],
    [undefined, undefined],
  ])("%j is %j ms", (value, waitMs) => {
    expect(parseRetryAfter(value, NOON)).toBe(waitMs);
  });
});

describe("a webhook", () => {
  test.each([
    ["https://user:word@hooks.example.com:8443/a/b?token=word&word#word", "https://hooks.example.com:8443/a/…"],
    ["https://hooks.slack.example/services/T0/B0/word", "https://hooks.slack.example/services/…"],
    ["https://hooks.example.com/vm/", "https://hooks.example.com/vm"],
    ["https://hooks.example.com/vm?word", "https://hooks.example.com/vm?…"],
    ["https://hooks.example.com//word", "https://hooks.example.com//…"],
    ["https://hooks.example.com", "https://hooks.example.com/"],
  ])("is shown without what is secret in %s", (url, shown) => {
    expect(sinkTo(url).target).toBe(shown);
  });

  test("is not made for what is no URL, or has no secret for one", () => {
    expect(() => sinkTo("https://user:%zz@hooks.example.com/")).toThrow("percent-encoded");
    expect(() => sinkTo("ftp://hooks.example.com/")).toThrow("a webhook must be https://HOST/PATH");
    expect(() => sinkTo("https://hooks.example.com/", ["secret"])).toThrow("a webhook's secret must be whsec_");
  });

  test("without TLS fails until the configuration allows it", async () => {
    const sink = sinkTo("http://hooks.example.com/");
    const [attempted] = await sink.deliver([nextEvent()], new AbortController().signal);
    expect(attempted?.outcome).toEqual({
      type: "failed",
      reason: "an endpoint without TLS needs events.targets.http in the manager's configuration",
    });
    await sink.close();
  });

  test("rejects an event that is too large without its values too", async () => {
    const sink = sinkTo("https://hooks.example.com/");
    const [attempted] = await sink.deliver(
      [nextEvent({ data: { key: "k".repeat(70_000) } })],
      new AbortController().signal,
    );
    expect(attempted?.outcome).toMatchObject({ type: "rejected" });
    await sink.close();
  });

  test("is tried for some three days, as Standard Webhooks recommends", () => {
    const { retryScheduleMs } = sinkTo("https://hooks.example.com/");
    expect(retryScheduleMs.map((ms) => ms / 60_000)).toEqual([5 / 60, 5, 30, 120, 300, 600, 840, 1200, 1440]);
  });
});
