import { expect, test } from "vitest";
import { OtherKeys } from "../../../../../manager/peers/broker/other-keys.ts";

test("whoever seals with another key is shown ours, at most once a second", () => {
  let now = Date.UTC(2026, 10, 20, 12);
  let shown = 0;
  const otherKeys = new OtherKeys(
    () => (shown += 1),
    () => now,
  );
  for (let heard = 0; heard < 100; heard += 1) otherKeys.heard();
  expect(shown).toBe(1);
  now += 1_000;
  otherKeys.heard();
  expect(shown).toBe(2);
});

test("two managers with different keys do not answer each other for ever", () => {
  const announcements: OtherKeys[] = [];
  const noon = (): number => Date.UTC(2026, 10, 20, 12);
  const one: OtherKeys = new OtherKeys(() => announcements.push(two), noon);
  const two: OtherKeys = new OtherKeys(() => announcements.push(one), noon);
  one.heard();
  let count = 0;
  for (let hears = announcements.shift(); hears !== undefined; hears = announcements.shift()) {
    count += 1;
    hears.heard();
  }
  expect(count).toBe(2);
});
