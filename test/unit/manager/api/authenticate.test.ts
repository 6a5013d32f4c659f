import { expect, test, vi } from "vitest";
import { principalOf } from "../../../../manager/api/authenticate.ts";
import { AuthenticationError, type Authenticator } from "../../../../manager/access/authenticator.ts";
import type { Principal } from "../../../../manager/access/principal.ts";

const socket: Principal = { name: "socket:/s", via: "unix:/s", role: "read", vms: ["*"], keys: [""] };
const alice: Principal = { ...socket, name: "alice" };

function scripted() {
  return {
    byPassword: vi.fn<Authenticator["byPassword"]>(() => Promise.resolve(alice)),
    byToken: vi.fn<Authenticator["byToken"]>(() => Promise.resolve(alice)),
    byPublicKey: vi.fn<Authenticator["byPublicKey"]>(() => Promise.reject(new AuthenticationError())),
  };
}

function basic(text: string): string {
  return `Basic ${Buffer.from(text).toString("base64")}`;
}

test("without credentials, it is the door's principal who asks", async () => {
  const authenticator = scripted();
  expect(await principalOf({ authorization: undefined, via: "unix:/s" }, socket, authenticator)).toBe(socket);
  expect(authenticator.byPassword).not.toHaveBeenCalled();
});

test("without credentials and without such a principal, credentials are asked for", async () => {
  const asking = principalOf({ authorization: undefined, via: "https:::1" }, undefined, scripted());
  await expect(asking).rejects.toThrow(AuthenticationError);
});

test.for([
  ["alice:secret", "alice", "secret"],
  ["alice:se:cr:et", "alice", "se:cr:et"],
  ["älice:пароль", "älice", "пароль"],
  ["alice:", "alice", ""],
  [":", "", ""],
] as const)("Basic %s is a user and a password", async ([text, user, password]) => {
  const authenticator = scripted();
  await principalOf({ authorization: basic(text), via: "https:::1" }, socket, authenticator);
  expect(authenticator.byPassword).toHaveBeenCalledExactlyOnceWith({ user, password }, "https:::1");
});

test.for(["Bearer abc.DEF_1-2~+/==", "bearer abc.DEF_1-2~+/==", "BEARER   abc.DEF_1-2~+/== "])(
  "%s is a token",
  async (authorization) => {
    const authenticator = scripted();
    await principalOf({ authorization, via: "unix:/s" }, socket, authenticator);
    expect(authenticator.byToken).toHaveBeenCalledExactlyOnceWith("abc.DEF_1-2~+/==", "unix:/s");
  },
);

test.for(["", "Basic", "Bearer ", "Bearer a b", "Digest abc", "Bearer tok\u0000en", "abc", "Basic =", basic("alice")])(
  "%j is refused without a question",
  async (authorization) => {
    const authenticator = scripted();
    await expect(principalOf({ authorization, via: "unix:/s" }, socket, authenticator)).rejects.toThrow(
      AuthenticationError,
    );
    expect(authenticator.byToken).not.toHaveBeenCalled();
    expect(authenticator.byPassword).not.toHaveBeenCalled();
  },
);
