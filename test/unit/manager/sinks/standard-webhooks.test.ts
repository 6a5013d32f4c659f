import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { describe, expect, test } from "vitest";
import { keyOfSecret, newSecret, webhookHeaders } from "../../../../manager/sinks/standard-webhooks.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

describe("a signature", () => {
  test("is the specification's for its example", () => {
    const content = {
      id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
      time: 1_614_265_330_999,
      body: Buffer.from('{"test": 2432232314}'),
    };
    expect(webhookHeaders(content, [keyOfSecret(SECRET)])).toEqual({
      "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    });
  });

  test("is there for each secret, and a receiver with either takes it", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const secrets = [newSecret(), newSecret()];
        const body = Buffer.from(text);
        const headers = webhookHeaders({ id: "1", time: Date.now(), body }, secrets.map(keyOfSecret));
        expect(headers["webhook-signature"]?.split(" ")).toHaveLength(2);
        for (const secret of secrets) new Webhook(secret).verify(body, headers, { jsonParse: false });
        expect(() => new Webhook(newSecret()).verify(body, headers, { jsonParse: false })).toThrow(
          "No matching signature",
        );
      }),
      { numRuns: 20 },
    );
  });

  test("is not there without a secret, but the id and the time are", () => {
    expect(Object.keys(webhookHeaders({ id: "1", time: 0, body: Buffer.of() }, []))).toEqual([
      "webhook-id",
      "webhook-timestamp",
    ]);
  });
});

describe("a secret", () => {
  test("that is made has 32 random bytes", () => {
    expect(newSecret()).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(newSecret()).not.toBe(newSecret());
  });

  const bytes = (count: number): string => Buffer.alloc(count, 0xa5).toString("base64");

  test.each([24, 32, 64])("may have %i bytes", (count) => {
    expect(keyOfSecret(`whsec_${bytes(count)}`)).toMatchObject({ symmetricKeySize: count });
  });

  test.each([
    ["too short", `whsec_${bytes(23)}`],
    ["too long", `whsec_${bytes(65)}`],
    ["without its prefix", bytes(32)],
    ["without its padding", `whsec_${bytes(32).replace("=", "")}`],
    ["of URLs' base64", `whsec_${"-_".repeat(16)}`],
    ["empty", ""],
  ])("is refused when it is %s, and not shown", (_what, secret) => {
    expect(() => keyOfSecret(secret)).toThrow(
      /^a webhook's secret must be whsec_ and 24 to 64 bytes in base64 with its padding$/,
    );
  });
});
