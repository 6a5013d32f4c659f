import { describe, expect, it } from "vitest";
import { managerSockets } from "../../../host-cli/door.ts";
import { credentialsPath } from "../../../host-cli/managed/credentials.ts";

const uid = process.getuid?.() ?? 0;
const SYSTEM = "/run/vmmessage/manager.sock";

describe("the manager's socket is looked for", () => {
  it("where the system's service puts it, then in the user's own runtime directory", () => {
    const own = import.meta.dirname;
    expect(managerSockets({ environment: { XDG_RUNTIME_DIR: own }, uid })).toEqual([
      SYSTEM,
      `${own}/vmmessage/manager.sock`,
    ]);
  });

  it.each([
    ["another user's", import.meta.dirname, uid + 1],
    ["missing", "/nonexistent", uid],
    ["relative", "run", uid],
    ["empty", "", uid],
  ])("never in a runtime directory that is %s", (_, directory, user) => {
    expect(managerSockets({ environment: { XDG_RUNTIME_DIR: directory }, uid: user })).toEqual([SYSTEM]);
  });
});

describe("the credentials file is", () => {
  it.each([
    [{}, "/home/alice/.config/vmmessage/credentials"],
    [{ XDG_CONFIG_HOME: "/etc/alice" }, "/etc/alice/vmmessage/credentials"],
    [{ XDG_CONFIG_HOME: "relative" }, "/home/alice/.config/vmmessage/credentials"],
  ])("with %o", (environment, path) => {
    expect(credentialsPath({ environment, home: "/home/alice" })).toBe(path);
  });
});
