import { promisify } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ResolveAll, TargetGuard, type TargetGuardOptions } from "../../../../manager/sinks/target-guard.ts";

const none = (): string[] => [];

function guard(options: Partial<TargetGuardOptions> = {}): TargetGuard {
  return new TargetGuard({ allow: [], ownAddresses: none, ...options });
}

function isRefused(host: string, by = guard()): boolean {
  try {
    by.assertAddress(host);
    return false;
  } catch (error) {
    expect(error).toMatchObject({ code: "not-permitted" });
    return true;
  }
}

/** A name server that knows every name, by these addresses. */
function knows(...addresses: string[]): ResolveAll {
  return (_hostname, _options, callback) => {
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
    );
  };
}

/** Any address in the range. */
function ipv4In(first: readonly [number, number, number, number], bits: number): fc.Arbitrary<number[]> {
  const base = first.reduce((number, byte) => number * 256 + byte, 0);
  return fc.integer({ min: 0, max: 2 ** (32 - bits) - 1 }).map((offset) => {
    const address = base + offset;
    return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256);
  });
}

const privateIpv4 = fc.oneof(
  ipv4In([10, 0, 0, 0], 8),
  ipv4In([172, 16, 0, 0], 12),
  ipv4In([192, 168, 0, 0], 16),
  ipv4In([127, 0, 0, 0], 8),
  ipv4In([169, 254, 0, 0], 16),
  ipv4In([100, 64, 0, 0], 10),
);

const hex = (...bytes: number[]): string => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");

describe("an address that a user names", () => {
  test.each([
    ["0.0.0.0", "unspecified"],
    ["127.0.0.1", "loopback"],
    ["127.255.255.254", "loopback"],
    ["10.0.0.1", "private"],
    ["172.31.255.255", "private"],
    ["192.168.1.1", "private"],
    ["100.64.0.1", "shared (carrier's)"],
    ["169.254.169.254", "link-local"],
    ["192.0.2.1", "documentation"],
    ["198.51.100.7", "documentation"],
    ["203.0.113.9", "documentation"],
    ["198.19.255.255", "benchmark"],
    ["224.0.0.1", "multicast"],
    ["255.255.255.255", "broadcast"],
    ["192.0.0.192", "reserved"],
    ["240.0.0.1", "reserved"],
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["fd00:ec2::254", "private"],
    ["fec0::1", "private"],
    ["fe80::1", "link-local"],
    ["fe80::1%eth0", "link-local"],
    ["2001:db8::1", "documentation"],
    ["3fff::1", "documentation"],
    ["ff02::1", "multicast"],
    ["2001::1", "reserved"],
    ["100::1", "reserved"],
    ["64:ff9b:1::1", "reserved"],
    ["5f00::1", "reserved"],
    ["::127.0.0.1", "reserved"],
    ["::ffff:127.0.0.1", "loopback"],
    ["::ffff:a00:1", "private"],
    ["64:ff9b::169.254.169.254", "link-local"],
    ["2002:7f00:1::1", "loopback"],
  ])("%s is refused as %s, with the way to allow it", (address, kind) => {
    const message = `${address} is a ${kind} address; events.targets.allow in the manager's configuration says`;
    expect(() => {
      guard().assertAddress(address);
    }).toThrow(message);
  });

  test.each([
    ["[::1]", "::1"],
    ["[::ffff:127.0.0.1]", "::ffff:127.0.0.1"],
    ["127.1", "127.0.0.1"],
    ["0x7f.1", "127.0.0.1"],
    ["0177.0.0.1", "127.0.0.1"],
    ["2130706433", "127.0.0.1"],
    ["127.0.0.1.", "127.0.0.1"],
    ["0", "0.0.0.0"],
    ["１２７.0.0.1", "127.0.0.1"],
    ["%31%32%37.0.0.1", "127.0.0.1"],
    ["127.0.0.1:80", "127.0.0.1"],
  ])("is found out when it is written as %s", (host, address) => {
    expect(() => {
      guard().assertAddress(host);
    }).toThrow(`${address} is a`);
  });

  test.each(["93.184.215.14", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "172.32.0.1", "100.128.0.1"])(
    "%s is allowed: it is everybody's",
    (address) => {
      expect(isRefused(address)).toBe(false);
    },
  );

  test.each(["hooks.example.com", "localhost", "10.example.com", "", "a b", "a/b"])(
    "is not '%s': names are for the look-up",
    (host) => {
      expect(isRefused(host)).toBe(false);
    },
  );

  test("is refused in every way in which IPv6 has it, as it is in IPv4", () => {
    fc.assert(
      fc.property(privateIpv4, ([a = 0, b = 0, c = 0, d = 0]) => {
        const dotted = [a, b, c, d].join(".");
        const [high, low] = [hex(a, b), hex(c, d)];
        expect(isRefused(dotted)).toBe(true);
        expect(isRefused(`::ffff:${dotted}`)).toBe(true);
        expect(isRefused(`[::ffff:${high}:${low}]`)).toBe(true);
        expect(isRefused(`0:0:0:0:0:FFFF:${high}:${low}`)).toBe(true);
        expect(isRefused(`64:ff9b::${high}:${low}`)).toBe(true);
        expect(isRefused(`2002:${high}:${low}::1`)).toBe(true);
        expect(isRefused(String(((a * 256 + b) * 256 + c) * 256 + d))).toBe(true);
      }),
    );
  });

  test("is refused when it is this machine's own, and public", () => {
    const own = guard({ ownAddresses: () => ["93.184.215.14", "2606:4700::1"] });
    for (const address of ["93.184.215.14", "::ffff:93.184.215.14", "2606:4700::1"]) {
      expect(isRefused(address, own)).toBe(true);
    }
    expect(() => {
      own.assertAddress("93.184.215.14");
    }).toThrow("93.184.215.14 is an address of the manager's machine");
    expect(isRefused("93.184.215.15", own)).toBe(false);
  });
});

describe("a range that the configuration allows", () => {
  const allowing = guard({
    allow: ["10.1.0.0/16", "fd00::/8", "93.184.215.14/32"],
    ownAddresses: () => ["93.184.215.14"],
  });

  test("has its addresses allowed, in IPv6 too, and no others", () => {
    for (const address of ["10.1.255.1", "::ffff:10.1.0.1", "fd00::1", "93.184.215.14"]) {
      expect(isRefused(address, allowing)).toBe(false);
    }
    for (const address of ["10.2.0.1", "::ffff:10.2.0.1", "fc00::1", "127.0.0.1"]) {
      expect(isRefused(address, allowing)).toBe(true);
    }
  });

  test("of all of IPv6 allows nothing of IPv4", () => {
    const ipv6 = guard({ allow: ["::/0"] });
    expect(isRefused("::1", ipv6)).toBe(false);
    expect(isRefused("127.0.0.1", ipv6)).toBe(true);
  });
});

describe("a look-up", () => {
  const all = (by: TargetGuard): Promise<unknown> =>
    new Promise((resolve, reject) => {
      by.lookup("hooks.example.com", { all: true }, (error, addresses) => {
        if (error === null) resolve(addresses);
        else reject(error);
      });
    });

  test("answers the allowed ones of a name's addresses", async () => {
    const answered = await all(guard({ resolve: knows("127.0.0.1", "93.184.215.14", "::1", "2606:4700::1111") }));
    expect(answered).toEqual([
      { address: "93.184.215.14", family: 4 },
      { address: "2606:4700::1111", family: 6 },
    ]);
  });

  test("answers one address to who asks for one", async () => {
    const { lookup } = guard({ resolve: knows("10.0.0.1", "93.184.215.14") });
    const one = promisify((callback: (error: Error | null, answer: unknown[]) => void) => {
      lookup("hooks.example.com", {}, (error, ...answer) => {
        callback(error, answer);
      });
    });
    expect(await one()).toEqual(["93.184.215.14", 4]);
  });

  test("fails when none is allowed, and does not tell which address it was", async () => {
    const failure = await all(guard({ resolve: knows("10.20.30.40", "::1") })).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: "not-permitted",
      message:
        "hooks.example.com leads to a private address; events.targets.allow in the manager's configuration says which of these endpoints may lead to",
    });
  });

  test("fails as the name server does", async () => {
    const error = Object.assign(new Error("queryA ENOTFOUND"), { code: "ENOTFOUND" });
    const failing = guard({
      resolve: (_hostname, _options, callback) => {
        callback(error, []);
      },
    });
    await expect(all(failing)).rejects.toBe(error);
  });

  test("fails for a name without addresses", async () => {
    await expect(all(guard({ resolve: knows() }))).rejects.toThrow("hooks.example.com has no address");
  });

  test("finds this machine's loopback by the system's resolver, and refuses it", async () => {
    const { lookup } = new TargetGuard({ allow: [] });
    const failure = await new Promise((resolve) => {
      lookup("localhost", { all: true }, resolve);
    });
    expect(failure).toMatchObject({
      code: "not-permitted",
      message: expect.stringContaining("localhost leads to a loopback") as string,
    });
  });
});
