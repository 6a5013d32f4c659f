import { describe, expect, test } from "vitest";
import { TooManyAttemptsError } from "../../../../manager/access/authenticator.ts";
import { Passwords } from "../../../../manager/access/passwords.ts";
import { WorkSlots } from "../../../../manager/work-slots.ts";

const cheap = { N: 16, r: 1, p: 1 };

describe("a password", () => {
  test("is kept with its parameters and a salt of its own, and known again", async () => {
    const passwords = new Passwords(cheap);
    const kept = await passwords.hash("correct horse");
    expect(kept).toMatch(/^scrypt\$16\$1\$1\$[A-Za-z0-9_-]{22}\$[A-Za-z0-9_-]{43}$/);
    expect(await passwords.hash("correct horse")).not.toBe(kept);
    expect(await passwords.matches("correct horse", kept)).toBe(true);
    expect(await passwords.matches("correct horsf", kept)).toBe(false);
    expect(await passwords.matches("", kept)).toBe(false);
  });

  test("is known again after the cost was raised", async () => {
    const kept = await new Passwords(cheap).hash("correct horse");
    expect(await new Passwords({ N: 32, r: 2, p: 2 }).matches("correct horse", kept)).toBe(true);
  });

  test("is known again at the cost that is used", async () => {
    const passwords = new Passwords();
    expect(await passwords.matches("correct horse", await passwords.hash("correct horse"))).toBe(true);
  });

  test("hashes as RFC 7914, section 12 says", async () => {
    const hash =
      "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640";
    // Of its 64 bytes we keep 32, which are the first: PBKDF2 with SHA-256 makes them block by block.
    const kept = ["scrypt", 1024, 8, 16, Buffer.from("NaCl").toString("base64url")];
    const first = Buffer.from(hash, "hex").subarray(0, 32).toString("base64url");
    expect(await new Passwords().matches("password", [...kept, first].join("$"))).toBe(true);
  });

  test("is the same in both ways to write an accent", async () => {
    const passwords = new Passwords(cheap);
    expect(await passwords.matches("cafe\u0301", await passwords.hash("caf\u00e9"))).toBe(true);
  });

  test("of nobody is wrong", async () => {
    expect(await new Passwords(cheap).matches("", undefined)).toBe(false);
  });

  test("waits its turn, and too many are turned away", async () => {
    const passwords = new Passwords(cheap);
    const outcomes = await Promise.allSettled(Array.from({ length: 70 }, () => passwords.matches("x", undefined)));
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    expect(refused).toHaveLength(4);
    for (const { reason } of refused) expect(reason).toBeInstanceOf(TooManyAttemptsError);
    expect(await passwords.matches("x", undefined)).toBe(false);
  });
});

describe("slots for work", () => {
  test("run so many at once, the others in order, also after one that failed", async () => {
    const slots = new WorkSlots({ slots: 2, maxWaiting: 2 });
    const started: string[] = [];
    const work = (name: string) => {
      const end = Promise.withResolvers<string>();
      const done = slots.run(() => {
        started.push(name);
        return end.promise;
      });
      return { done, ...end };
    };
    const [a, b, c, d] = [work("a"), work("b"), work("c"), work("d")] as const;
    expect(slots.isFull).toBe(true);
    a.reject(new Error("failed"));
    await expect(a.done).rejects.toThrow("failed");
    expect(started).toEqual(["a", "b", "c"]);
    expect(slots.isFull).toBe(false);
    b.resolve("b");
    c.resolve("c");
    d.resolve("d");
    expect(await Promise.all([b.done, c.done, d.done])).toEqual(["b", "c", "d"]);
    expect(started).toEqual(["a", "b", "c", "d"]);
  });
});
