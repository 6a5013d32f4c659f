import { describe, expect, test } from "vitest";
import { eventJson, MAX_EVENT_BYTES } from "../../../../manager/sinks/event-json.ts";
import { HOST, nextEvent } from "./events.ts";

const large = "é".repeat(MAX_EVENT_BYTES / 2);

function parsed(json: Buffer | undefined): { data: Record<string, unknown> } {
  expect(json).toBeDefined();
  return JSON.parse(String(json)) as { data: Record<string, unknown> };
}

describe("an event's JSON", () => {
  test.each(["cloudevents", "cloudstack"] as const)("has a value that is not too large, as %s", (format) => {
    const event = nextEvent({ type: "KEY.SET", data: { key: "a" }, value: { value: "b" } });
    expect(parsed(eventJson(event, format, HOST)).data).toMatchObject({ key: "a", value: "b" });
  });

  test.each(["cloudevents", "cloudstack"] as const)(
    "says that it is truncated without one that is, as %s",
    (format) => {
      const event = nextEvent({ type: "KEY.SET", data: { key: "a", data: large }, value: { value: large } });
      const json = eventJson(event, format, HOST);
      expect(json?.length).toBeLessThan(1000);
      const { data } = parsed(json);
      expect(data).toMatchObject({ key: "a", truncated: true });
      expect(data).not.toHaveProperty("value");
      expect(data).not.toHaveProperty("data");
    },
  );

  test("may be as large as every consumer takes, and not a byte more", () => {
    const withValue = (value: string) => eventJson(nextEvent({ data: { value } }), "cloudevents", HOST);
    const room = MAX_EVENT_BYTES - (withValue("")?.length ?? 0);
    expect(withValue("x".repeat(room))).toHaveLength(MAX_EVENT_BYTES);
    expect(parsed(withValue("x".repeat(room + 1))).data).toMatchObject({ truncated: true });
  });

  test("is none when what is left is too large", () => {
    expect(eventJson(nextEvent({ data: { key: large } }), "cloudevents", HOST)).toBeUndefined();
  });
});
