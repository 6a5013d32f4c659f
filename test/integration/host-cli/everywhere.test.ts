import { join } from "node:path";
import { expect, it } from "vitest";
import { ManagerUnderTest } from "../support/managers.ts";
import { events, ScriptedManager, UUID } from "../manager/cli/scripted-manager.ts";
import { temporaryDirectory, vmmessage } from "./programs.ts";

it("the VMs of all managers are not to be had of one that knows no broker for managers", async () => {
  await using manager = await ManagerUnderTest.start([]);
  expect(await vmmessage(["vms", "--everywhere"], { env: { VMMESSAGE_MANAGER: manager.socketPath } })).toMatchObject({
    code: 3,
    stdout: "",
    stderr: "vmmessage: no broker for managers is configured here; see `peers` in manager.json\n",
  });
});

it("a list without VMs says whose there are none", async () => {
  const socket = join(await temporaryDirectory(), "manager.sock");
  const managers = [{ host: "hosta", id: "a1" }];
  await ScriptedManager.atSocket(socket, {
    listVms: ({ query }) => ({ vms: [], ...(query["everywhere"] === "true" && { managers }) }),
  });
  const env = { VMMESSAGE_MANAGER: socket };
  expect((await vmmessage(["vms"], { env })).stderr).toBe("vmmessage: the manager knows no VMs\n");
  const everywhere = await vmmessage(["vms", "--everywhere"], { env });
  expect(everywhere).toMatchObject({ code: 0, stderr: "vmmessage: no manager that answered knows a VM\n" });
});

it("a change that a manager of another host was lost with is told with the id for all VMs", async () => {
  const socket = join(await temporaryDirectory(), "manager.sock");
  const error = { code: "unconfirmed", message: "the manager on hostb vanished", details: { messageId: "f1" } };
  await ScriptedManager.atSocket(socket, {
    sendFleet: () =>
      events(
        [
          ["begin", { vms: 1 }],
          ["result", { vm: { id: UUID, name: "web1" }, status: "Unknown", error }],
          ["summary", { vms: 1, done: 0, queued: 0, failed: 1 }],
        ],
        { end: true },
      ),
  });
  const env = { VMMESSAGE_MANAGER: socket };
  expect(await vmmessage(["clear", "-v", "web*", "--message-id", "f1"], { env })).toMatchObject({
    code: 11,
    stderr: "vmmessage: 1 of 1 VMs failed; the same command with --message-id f1 has one effect at each VM\n",
  });
});

it("health counts one VM as one", async () => {
  const vm = { name: "web1", socket: join(await temporaryDirectory(), "web1.sock") };
  await using manager = await ManagerUnderTest.start([vm]);
  const { stdout } = await vmmessage(["health"], { env: { VMMESSAGE_MANAGER: manager.socketPath } });
  expect(stdout).toMatch(/ 1 VM$/m);
});
