import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TooManyAttemptsError } from "../../../../manager/access/authenticator.ts";
import { LoginLimits, networkOf } from "../../../../manager/access/login-limits.ts";

const warn = vi.fn();
const limits = () => new LoginLimits({ info: vi.fn(), warn, error: vi.fn() });

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  warn.mockReset();
});

async function failures(limited: LoginLimits, count: number, via: string, user?: string): Promise<void> {
  for (let index = 0; index < count; index += 1) await limited.take(via, user);
}

describe("failed logins", () => {
  test("are ten a minute for an address, whoever the user is; then it says when to come again, and the log once", async () => {
    const limited = limits();
    for (let index = 0; index < 10; index += 1) await limited.take("https:192.0.2.1", `user${index}`);
    vi.advanceTimersByTime(20_000);
    for (const user of ["other", "another"]) {
      const error = await limited.take("https:192.0.2.1", user).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(TooManyAttemptsError);
      expect(error).toMatchObject({ retryAfterMs: 40_000, code: "not-permitted" });
    }
    expect(warn.mock.calls).toEqual([["logins-refused", { via: "https:192.0.2.1", user: "other", forMs: 40_000 }]]);
    await limited.take("https:192.0.2.2", "other");
    vi.advanceTimersByTime(40_000);
    await limited.take("https:192.0.2.1", "other");
  });

  test("are ten a minute for a user, whatever the address is", async () => {
    const limited = limits();
    for (let index = 0; index < 10; index += 1) await limited.take(`https:192.0.2.${index}`, "alice");
    await expect(limited.take("https:192.0.2.99", "alice")).rejects.toBeInstanceOf(TooManyAttemptsError);
    await limited.take("https:192.0.2.98", "bob");
  });

  test("with keys and tokens shut no user out", async () => {
    const limited = limits();
    await failures(limited, 10, "ssh:192.0.2.1");
    await expect(limited.take("ssh:192.0.2.1")).rejects.toBeInstanceOf(TooManyAttemptsError);
    await limited.take("ssh:192.0.2.2", "alice");
  });

  test("that were none after all are given back", async () => {
    const limited = limits();
    for (let index = 0; index < 30; index += 1) {
      await limited.take("https:192.0.2.1", "alice");
      await limited.giveBack("https:192.0.2.1", "alice");
    }
    await failures(limited, 10, "https:192.0.2.1", "alice");
    await expect(limited.take("https:192.0.2.1", "alice")).rejects.toBeInstanceOf(TooManyAttemptsError);
  });
});

describe("an address", () => {
  test.each([
    ["https:192.0.2.1", "192.0.2.1"],
    ["https:::ffff:192.0.2.1", "192.0.2.1"],
    ["ssh:2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["ssh:2001:db8:1:2::1", "2001:db8:1:2::/64"],
    ["ssh:2001:0DB8:0001:0002::", "2001:db8:1:2::/64"],
    ["ssh:2001:db8::1", "2001:db8:0:0::/64"],
    ["ssh:::1", "0:0:0:0::/64"],
    ["ssh:fe80::1%eth0", "fe80:0:0:0::/64"],
    ["unix:/run/vmmessage/manager.sock", "/run/vmmessage/manager.sock"],
  ])("%s counts as %s", (via, network) => {
    expect(networkOf(via)).toBe(network);
  });
});
