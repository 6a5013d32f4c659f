import { expect, it } from "vitest";
import { formatLocalTime } from "../../../../manager/console/local-time.ts";

const seed = new Date("2012-12-27T17:04:29.890Z");

it.each([
  ["America/Los_Angeles", "2012-12-27 09:04:29,890 PST"],
  ["UTC", "2012-12-27 17:04:29,890 UTC"],
  ["Europe/Berlin", "2012-12-27 18:04:29,890 CET"],
  ["Asia/Tokyo", "2012-12-28 02:04:29,890 JST"],
  ["Asia/Kathmandu", "2012-12-27 22:49:29,890 GMT+5:45"],
])("the time in %s is %s", (zone, text) => {
  expect(formatLocalTime(seed, zone)).toBe(text);
});

it("the abbreviation is the summer's in summer", () => {
  expect(formatLocalTime(new Date("2013-07-01T00:00:00.005Z"), "America/Los_Angeles")).toBe(
    "2013-06-30 17:00:00,005 PDT",
  );
});

it("midnight is hour 00", () => {
  expect(formatLocalTime(new Date("2013-01-01T00:00:00.000Z"), "UTC")).toBe("2013-01-01 00:00:00,000 UTC");
});
