import { describe, expect, test, vi } from "vitest";
import { Accounts } from "../../../../manager/access/accounts.ts";
import type { Deed } from "../../../../manager/access/audit-log.ts";
import { AuthenticationError, TooManyAttemptsError } from "../../../../manager/access/authenticator.ts";
import { Passwords } from "../../../../manager/access/passwords.ts";
import type { Operations } from "../../../../manager/store/operations.ts";
import type { Store, StoredToken } from "../../../../manager/store/store.ts";
import { DAY, NOW, openTables } from "../store/tables.ts";

const HTTPS = "https:192.0.2.1";
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHKj9w0eXJXQHsO8yXrWJm1sJzXk4p6kqzT0e0mVqYQH";
const SECONDS = 1000;

/** The store's operations, each of which can be made to fail. */
function storeOn(tables: Operations) {
  return {
    users: () => Promise.resolve(tables.users()),
    saveUser: vi.fn<Store["saveUser"]>(async (user) => {
      await Promise.resolve();
      tables.saveUser(user);
    }),
    removeUser: vi.fn<Store["removeUser"]>((name) => Promise.resolve(tables.removeUser(name))),
    tokens: () => Promise.resolve(tables.tokens()),
    saveToken: async (token: StoredToken) => {
      await Promise.resolve();
      tables.saveToken(token);
    },
    touchToken: vi.fn<Store["touchToken"]>((id, at) => Promise.resolve(tables.touchToken(id, at))),
    removeToken: (id: string) => Promise.resolve(tables.removeToken(id)),
  };
}

async function openAccounts(tables = openTables().tables) {
  let now = NOW;
  const deeds: string[] = [];
  const record = ({ who, action, outcome }: Deed) => {
    deeds.push(`${who.name} ${who.via} ${action} ${outcome}`);
    return Promise.resolve();
  };
  const passwords = new Passwords({ N: 16, r: 1, p: 1 });
  const computed = vi.spyOn(passwords, "matches");
  const store = storeOn(tables);
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const accounts = await Accounts.open({ store, audit: { record }, log, passwords, clock: () => now });
  const pass = (ms: number) => {
    now += ms;
  };
  return { accounts, store, tables, deeds, computed, pass, log };
}

const right = { user: "alice", password: "correct horse" };
const wrong = { user: "alice", password: "battery staple" };

async function withAlice() {
  const opened = await openAccounts();
  await opened.accounts.changeUser("alice", { role: "write", vms: ["web*"], keys: ["app."], password: right.password });
  return opened;
}

describe("a password", () => {
  test("that is right tells who it is and what they may do", async () => {
    const { accounts } = await withAlice();
    expect(await accounts.byPassword(right, HTTPS)).toEqual({
      name: "alice",
      via: HTTPS,
      role: "write",
      vms: ["web*"],
      keys: ["app."],
    });
  });

  test("that is wrong, or nobody's, or of a user without one, is refused alike and audited", async () => {
    const { accounts, deeds, computed } = await withAlice();
    await accounts.changeUser("bob", {});
    for (const credentials of [wrong, { ...right, user: "nobody" }, { ...right, user: "bob" }]) {
      const error = await accounts.byPassword(credentials, HTTPS).catch((thrown: unknown) => thrown);
      expect(error).toEqual(new AuthenticationError());
    }
    expect(computed).toHaveBeenCalledTimes(3);
    expect(deeds).toEqual([
      `alice ${HTTPS} login not-permitted`,
      `nobody ${HTTPS} login not-permitted`,
      `bob ${HTTPS} login not-permitted`,
    ]);
  });

  test("is computed once for many requests, at once or within a minute", async () => {
    const { accounts, computed, pass } = await withAlice();
    await Promise.all(Array.from({ length: 200 }, () => accounts.byPassword(right, HTTPS)));
    expect(computed).toHaveBeenCalledTimes(1);
    pass(59 * SECONDS);
    await accounts.byPassword(right, "https:192.0.2.2");
    expect(computed).toHaveBeenCalledTimes(1);
    pass(2 * SECONDS);
    await accounts.byPassword(right, HTTPS);
    expect(computed).toHaveBeenCalledTimes(2);
  });

  test("that is wrong is refused also while the right one is remembered", async () => {
    const { accounts } = await withAlice();
    await accounts.byPassword(right, HTTPS);
    await expect(accounts.byPassword(wrong, HTTPS)).rejects.toBeInstanceOf(AuthenticationError);
    await accounts.byPassword(right, HTTPS);
  });

  test("that was changed, or whose user was removed, is forgotten at once", async () => {
    const { accounts } = await withAlice();
    await accounts.byPassword(right, HTTPS);
    await accounts.changeUser("alice", { password: "battery staple" });
    await expect(accounts.byPassword(right, HTTPS)).rejects.toBeInstanceOf(AuthenticationError);
    await accounts.byPassword(wrong, HTTPS);
    await accounts.removeUser("alice");
    await expect(accounts.byPassword(wrong, HTTPS)).rejects.toBeInstanceOf(AuthenticationError);
  });

  test("that is changed while it is computed is refused", async () => {
    const { accounts, computed } = await withAlice();
    const computing = Promise.withResolvers<boolean>();
    computed.mockReturnValueOnce(computing.promise);
    const login = accounts.byPassword(right, HTTPS);
    await vi.waitUntil(() => computed.mock.calls.length === 1);
    await accounts.changeUser("alice", { password: "battery staple" });
    computing.resolve(true);
    await expect(login).rejects.toBeInstanceOf(AuthenticationError);
    await expect(accounts.byPassword(right, HTTPS)).rejects.toBeInstanceOf(AuthenticationError);
  });

  test("is used with the rights that the user has now", async () => {
    const { accounts } = await withAlice();
    await accounts.byPassword(right, HTTPS);
    await accounts.changeUser("alice", { role: "read" });
    expect(await accounts.byPassword(right, HTTPS)).toMatchObject({ role: "read", vms: ["web*"], keys: ["app."] });
  });

  test("cannot be guessed quickly, one by one or all at once", async () => {
    const { accounts, computed, deeds } = await withAlice();
    const guesses = Array.from({ length: 40 }, (_, index) =>
      accounts.byPassword({ ...wrong, password: `guess${index}` }, HTTPS),
    );
    const reasons = (await Promise.allSettled(guesses)).map((outcome) => {
      return outcome.status === "rejected" && (outcome.reason as Error).constructor;
    });
    expect(reasons.filter((reason) => reason === AuthenticationError)).toHaveLength(10);
    expect(reasons.filter((reason) => reason === TooManyAttemptsError)).toHaveLength(30);
    expect(computed).toHaveBeenCalledTimes(10);
    expect(deeds).toHaveLength(10);
    await expect(accounts.byPassword(right, HTTPS)).rejects.toBeInstanceOf(TooManyAttemptsError);
  });

  test("that is right does not count, however often it is computed", async () => {
    const { accounts, computed, pass } = await withAlice();
    for (let index = 0; index < 15; index += 1) {
      await accounts.byPassword(right, HTTPS);
      pass(61 * SECONDS);
    }
    expect(computed).toHaveBeenCalledTimes(15);
  });

  test("that is remembered still works while others guess", async () => {
    const { accounts } = await withAlice();
    await accounts.byPassword(right, HTTPS);
    for (let index = 0; index < 12; index += 1) await accounts.byPassword(wrong, HTTPS).catch(() => undefined);
    expect(await accounts.byPassword(right, HTTPS)).toMatchObject({ name: "alice" });
  });

  test("over the console is audited as a login", async () => {
    const { accounts, deeds } = await withAlice();
    await accounts.byPassword(right, HTTPS);
    await accounts.byPassword(right, "ssh:192.0.2.1");
    expect(deeds).toEqual(["alice ssh:192.0.2.1 login ok"]);
  });
});

describe("a token", () => {
  test("tells who it is, is shown once, and is kept as a digest", async () => {
    const { accounts, tables } = await withAlice();
    const created = await accounts.createToken({ user: "alice", label: "ci" });
    expect(created.token).toMatch(/^vmm_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/);
    expect(await accounts.byToken(created.token, HTTPS)).toMatchObject({ name: "alice", role: "write", via: HTTPS });
    expect(JSON.stringify(tables.tokens())).not.toContain(created.token.slice(-43));
    expect(accounts.listTokens()).toEqual([
      {
        id: created.id,
        user: "alice",
        label: "ci",
        createdAt: "2026-01-15T12:00:00.000Z",
        lastUsedAt: "2026-01-15T12:00:00.000Z",
      },
    ]);
  });

  test("that is wrong in any part is refused, and audited without it", async () => {
    const { accounts, deeds } = await withAlice();
    const { token, id } = await accounts.createToken({ user: "alice", label: "" });
    const wrongOnes = [
      "",
      "vmm_",
      `${token}A`,
      token.slice(0, -1),
      token.replace(id, "0".repeat(16)),
      `vmm_${id}_${"A".repeat(43)}`,
    ];
    for (const text of wrongOnes)
      await expect(accounts.byToken(text, HTTPS)).rejects.toEqual(new AuthenticationError());
    expect(new Set(deeds)).toEqual(new Set([`(token) ${HTTPS} login not-permitted`]));
  });

  test("ends when it expires, is revoked, or its user is removed", async () => {
    const { accounts, pass } = await withAlice();
    const short = await accounts.createToken({ user: "alice", label: "", expiresInMs: DAY });
    const revoked = await accounts.createToken({ user: "alice", label: "" });
    const orphan = await accounts.createToken({ user: "alice", label: "" });
    await accounts.byToken(short.token, HTTPS);
    pass(DAY);
    await accounts.revokeToken(revoked.id);
    for (const { token } of [short, revoked])
      await expect(accounts.byToken(token, HTTPS)).rejects.toBeInstanceOf(AuthenticationError);
    await accounts.byToken(orphan.token, HTTPS);
    await accounts.removeUser("alice");
    await expect(accounts.byToken(orphan.token, HTTPS)).rejects.toBeInstanceOf(AuthenticationError);
    expect(accounts.listTokens()).toEqual([]);
  });

  test("works after a restart, with when it was used last", async () => {
    const { accounts, tables } = await withAlice();
    const { token, id } = await accounts.createToken({ user: "alice", label: "ci" });
    await accounts.byToken(token, HTTPS);
    const { accounts: again } = await openAccounts(tables);
    expect(again.listTokens()).toMatchObject([{ id, lastUsedAt: "2026-01-15T12:00:00.000Z" }]);
    expect(await again.byToken(token, HTTPS)).toMatchObject({ name: "alice" });
    expect(again.listUsers()).toEqual(accounts.listUsers());
  });

  test("notes its use once a minute", async () => {
    const { accounts, store, pass } = await withAlice();
    const { token } = await accounts.createToken({ user: "alice", label: "" });
    for (let index = 0; index < 10; index += 1) {
      await accounts.byToken(token, HTTPS);
      pass(15 * SECONDS);
    }
    expect(store.touchToken).toHaveBeenCalledTimes(3);
  });

  test("works though its use cannot be written, which the log says", async () => {
    const { accounts, store, log } = await withAlice();
    const { token, id } = await accounts.createToken({ user: "alice", label: "" });
    const error = new Error("disk full");
    store.touchToken.mockRejectedValueOnce(error);
    await accounts.byToken(token, HTTPS);
    await vi.waitFor(() => {
      expect(log.error.mock.calls).toEqual([["token-use-not-written", { token: id, error }]]);
    });
  });

  test("gets in also where others fail, and the failures are limited", async () => {
    const { accounts, deeds } = await withAlice();
    const { token } = await accounts.createToken({ user: "alice", label: "" });
    for (let index = 0; index < 20; index += 1) await accounts.byToken("vmm_wrong", HTTPS).catch(() => undefined);
    await expect(accounts.byToken("vmm_wrong", HTTPS)).rejects.toBeInstanceOf(TooManyAttemptsError);
    expect(await accounts.byToken(token, HTTPS)).toMatchObject({ name: "alice" });
    expect(deeds).toHaveLength(10);
  });

  test("cannot be made for nobody, nor without end, nor revoked twice", async () => {
    const { accounts } = await withAlice();
    await expect(accounts.createToken({ user: "bob", label: "" })).rejects.toThrow("there is no user 'bob'");
    const tokens = await Promise.all(
      Array.from({ length: 100 }, () => accounts.createToken({ user: "alice", label: "" })),
    );
    await expect(accounts.createToken({ user: "alice", label: "" })).rejects.toMatchObject({ code: "over-limit" });
    const id = tokens[0]?.id ?? "";
    await accounts.revokeToken(id);
    await expect(accounts.revokeToken(id)).rejects.toThrow(`there is no token '${id}'`);
  });

  test("that is to live longer than ten years is refused: without an end it lives for good", async () => {
    const { accounts } = await withAlice();
    const making = accounts.createToken({ user: "alice", label: "", expiresInMs: Number.MAX_SAFE_INTEGER });
    await expect(making).rejects.toMatchObject({ code: "usage" });
  });
});

describe("a public key", () => {
  test("tells who it is when that user has it, whatever its comment, and is audited", async () => {
    const { accounts, deeds } = await withAlice();
    await accounts.changeUser("alice", { publicKeys: [`${KEY} alice@laptop`] });
    await accounts.changeUser("bob", {});
    expect(await accounts.byPublicKey({ user: "alice", key: KEY }, "ssh:192.0.2.1")).toMatchObject({ name: "alice" });
    for (const user of ["bob", "nobody"]) {
      await expect(accounts.byPublicKey({ user, key: KEY }, "ssh:192.0.2.1")).rejects.toEqual(
        new AuthenticationError(),
      );
    }
    expect(deeds).toEqual([
      "alice ssh:192.0.2.1 login ok",
      "bob ssh:192.0.2.1 login not-permitted",
      "nobody ssh:192.0.2.1 login not-permitted",
    ]);
  });
});

describe("a user", () => {
  test("who is made may see all VMs and keys and change nothing, unless it says otherwise", async () => {
    const { accounts } = await openAccounts();
    expect(await accounts.changeUser("bob", {})).toEqual({
      name: "bob",
      role: "read",
      vms: ["*"],
      keys: [""],
      hasPassword: false,
      publicKeys: [],
      createdAt: "2026-01-15T12:00:00.000Z",
    });
  });

  test("who is changed keeps what is left out", async () => {
    const { accounts, pass } = await withAlice();
    pass(DAY);
    const changed = await accounts.changeUser("alice", { role: "admin", publicKeys: [KEY] });
    const rights = { role: "admin", vms: ["web*"], keys: ["app."], hasPassword: true, publicKeys: [KEY] };
    expect(changed).toEqual({ name: "alice", ...rights, createdAt: "2026-01-15T12:00:00.000Z" });
    expect(accounts.listUsers()).toEqual([changed]);
  });

  test("who is changed by two at once has both changes", async () => {
    const { accounts } = await withAlice();
    await Promise.all([
      accounts.changeUser("alice", { role: "admin" }),
      accounts.changeUser("alice", { vms: ["db*"] }),
    ]);
    expect(accounts.listUsers()).toMatchObject([{ role: "admin", vms: ["db*"] }]);
  });

  test("is as before when the change cannot be written", async () => {
    const { accounts, store } = await withAlice();
    store.saveUser.mockRejectedValueOnce(new Error("disk full"));
    await expect(accounts.changeUser("alice", { role: "admin" })).rejects.toThrow("disk full");
    store.removeUser.mockRejectedValueOnce(new Error("disk full"));
    await expect(accounts.removeUser("alice")).rejects.toThrow("disk full");
    expect(await accounts.byPassword(right, HTTPS)).toMatchObject({ role: "write" });
  });

  test("is never shown with the password, in any form", async () => {
    const { accounts } = await withAlice();
    expect(JSON.stringify(accounts.listUsers())).not.toMatch(/scrypt|correct/);
  });

  test("who is the last admin may go", async () => {
    const { accounts } = await openAccounts();
    await accounts.changeUser("root", { role: "admin" });
    await accounts.changeUser("root", { role: "read" });
    await accounts.removeUser("root");
    expect(accounts.listUsers()).toEqual([]);
    await expect(accounts.removeUser("root")).rejects.toThrow("there is no user 'root'");
  });

  test.each([
    ["Alice", {}, "a user's name is"],
    ["alice", { password: "short" }, "a password has at least 8 characters"],
    ["alice", { role: "root" as "admin" }, "role"],
    ["alice", { vms: Array.from({ length: 1001 }, () => "a") }, "at most 1000"],
    ["alice", { vms: ["a".repeat(257)] }, "at most 256"],
    ["alice", { publicKeys: ["ssh-ed25519 nonsense"] }, "no public key in OpenSSH's form"],
    ["alice", { publicKeys: [`${KEY}\n${KEY}`] }, "no public key in OpenSSH's form"],
    ["alice", { publicKeys: ["ssh-\u001b[31m"] }, "'ssh-\\u001b[31m...' is no public key"],
  ])("cannot be %s with %j", async (name, change, problem) => {
    const { accounts } = await openAccounts();
    const error = accounts.changeUser(name, change);
    await expect(error).rejects.toMatchObject({ code: "usage", message: expect.stringContaining(problem) as string });
    expect(accounts.listUsers()).toEqual([]);
  });
});
