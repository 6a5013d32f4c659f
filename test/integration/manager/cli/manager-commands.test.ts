/** The commands that ask the manager itself. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { Receipt, User } from "../../../../shared/api/schemas.ts";
import { temporaryDirectory, vmmessage } from "../../host-cli/programs.ts";
import { ago, AWAY, ScriptedManager, UUID, vmSummary, WEB1 } from "./scripted-manager.ts";

let directory: string;
let manager: ScriptedManager;
let socket: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  socket = join(directory, "manager.sock");
  manager = await ScriptedManager.atSocket(socket, {});
});

function run(args: string[], stdin = "") {
  return vmmessage(args, { env: { VMMESSAGE_MANAGER: socket }, stdin });
}

describe("vms", () => {
  beforeEach(() => {
    const web10 = vmSummary({ ...AWAY, id: "u10", name: "web10", pending: 3, lastHeardAt: undefined });
    manager.script = { listVms: () => ({ vms: [web10, vmSummary(), vmSummary({ id: "u2", name: "db1" })] }) };
  });

  it("is a table", async () => {
    expect((await run(["vms", "web*"])).stdout).toBe(
      "NAME   STATUS   LINK  PENDING  LAST HEARD     HOST   UUID\n" +
        `web1   Running  up             5 minutes ago  node7  ${UUID}\n` +
        "web10  Stopped  off   3        never          node7  u10\n",
    );
  });

  it("with --quiet is names, with --json objects", async () => {
    expect((await run(["vms", "--quiet"])).stdout).toBe("db1\nweb1\nweb10\n");
    expect(JSON.parse((await run(["vms", UUID, "--json"])).stdout)).toMatchObject({ vms: [{ name: "web1" }] });
  });

  it("say who else has them", async () => {
    const moved = vmSummary({ id: "u3", name: "db1", heldBy: "kvm2" });
    const contested = vmSummary({ id: "u4", name: "db2", contestedBy: "kvm3" });
    manager.script = { listVms: () => ({ vms: [moved, contested] }) };
    const links = (await run(["vms"])).stdout.split("\n").map((line) => line.slice(15, 32).trimEnd());
    expect(links).toEqual(["LINK", "at kvm2", "up, also on kvm3", ""]);
  });

  it("--everywhere are those of all managers; one that did not answer is told", async () => {
    const managers = [
      { host: "kvm1", id: "m1" },
      { host: "kvm2", id: "m2", reason: "the manager on kvm2 did not answer within 8 s" },
    ];
    manager.script = { listVms: () => ({ vms: [vmSummary()], managers }) };
    expect(await run(["vms", "--everywhere", "--quiet"])).toMatchObject({
      code: 7,
      stdout: "web1\n",
      stderr:
        "vmmessage: kvm2 did not answer: the manager on kvm2 did not answer within 8 s\n" +
        "vmmessage: the list is without the VMs of 1 of 2 managers\n",
    });
    expect(manager.seen[0]?.query).toEqual({ everywhere: "true" });
    const [list = ""] = (await run(["vms", "--everywhere", "--json"])).stdout.split("\n");
    expect(JSON.parse(list)).toMatchObject({ vms: [{ name: "web1" }], managers });
    manager.script = { listVms: () => ({ vms: [vmSummary()], managers: managers.slice(0, 1) }) };
    expect(await run(["vms", "--everywhere", "--quiet"])).toMatchObject({ code: 0, stderr: "" });
  });

  it("that match nothing are told", async () => {
    expect(await run(["vms", "x*"])).toMatchObject({ code: 0, stdout: "", stderr: "vmmessage: no VM matches 'x*'\n" });
  });
});

const receipt: Receipt = {
  messageId: "m1",
  vm: WEB1,
  method: "set",
  keys: ["foo"],
  state: "refused",
  by: "alice",
  queuedAt: ago(60_500),
  refusal: { code: "conflict", message: "the key 'foo' exists" },
};

describe("messages", () => {
  it("are those that were sent", async () => {
    manager.script = { listSent: () => ({ receipts: [receipt] }) };
    expect((await run(["messages", "-v", "web1", "--limit", "5"])).stdout).toBe(
      "MESSAGE  STATE    SENT          BY     CHANGE   NOTE\n" +
        "m1       refused  1 minute ago  alice  set foo  the key 'foo' exists\n",
    );
    expect(manager.seen[0]).toMatchObject({ params: { vm: "web1" }, query: { limit: "5" } });
  });

  it("--received are those that came, harmless to a terminal", async () => {
    const received = [
      { vm: WEB1, kind: "set", receivedAt: ago(60_500), key: "ready", value: "\u001b[2J" },
      { vm: WEB1, kind: "acknowledge", receivedAt: ago(60_500), key: "job", of: "m1", result: "done" },
    ];
    manager.script = { listReceived: () => ({ received }) };
    expect((await run(["messages", "-v", "web1", "--received"])).stdout).toBe(
      "RECEIVED      KIND         NAME   VALUE      NOTE\n" +
        "1 minute ago  set          ready  \\u001b[2J\n" +
        "1 minute ago  acknowledge  job    done       of m1\n",
    );
  });
});

describe("receipt", () => {
  it("tells what became of a message", async () => {
    manager.script = { getReceipt: () => receipt };
    expect((await run(["receipt", "m1"])).stdout).toMatch(
      /^message {2}m1\nvm {7}web1\nstate {4}refused\nchange {3}set foo\nby {7}alice\nqueued {3}.*\nrefused {2}the key 'foo' exists\n$/,
    );
    expect((await run(["receipt", "m1", "--quiet"])).stdout).toBe("refused\n");
  });

  it("--wait-ack waits for the acknowledgement, or is unconfirmed", async () => {
    manager.script = { getReceipt: () => receipt };
    expect(await run(["receipt", "m1", "--wait-ack", "--timeout", "1"])).toMatchObject({ code: 11 });
    expect(manager.seen[0]?.query).toEqual({ waitFor: "acknowledged", waitMs: "750" });
    manager.script = { getReceipt: () => ({ ...receipt, state: "acknowledged" }) };
    expect(await run(["receipt", "m1", "--wait-ack"])).toMatchObject({ code: 0 });
  });
});

describe("user", () => {
  const alice: User = {
    name: "alice",
    role: "write",
    vms: ["web*"],
    keys: ["com.example."],
    hasPassword: true,
    publicKeys: ["ssh-ed25519 AAAA a"],
    createdAt: ago(1),
  };

  function users(...known: User[]): void {
    manager.script = {
      listUsers: () => ({ users: known }),
      changeUser: () => alice,
      removeUser: () => ({}),
    };
  }

  it("list is a table", async () => {
    users(alice);
    expect((await run(["user", "list"])).stdout).toBe(
      "NAME   ROLE   VMS   KEYS           LOGIN\n" + "alice  write  web*  com.example.*  password, 1 public key\n",
    );
  });

  it("add makes one, with a password that no command line shows", async () => {
    users();
    const rights = ["--role", "write", "--vms", "web*", "--vms", "db1", "--keys", "com.example."];
    const added = await run(["user", "add", "alice", ...rights, "--new-password", "-"], "correct horse\n");
    expect(added).toMatchObject({
      code: 0,
      stdout: "User 'alice' made: write, VMs web*, keys com.example.*.\n",
      stderr: "",
    });
    expect(manager.asked("changeUser")).toMatchObject([
      {
        params: { user: "alice" },
        body: { role: "write", vms: ["web*", "db1"], keys: ["com.example."], password: "correct horse" },
      },
    ]);
  });

  it("the asker's password and the new one follow one another on the standard input", async () => {
    users();
    const args = ["-u", "admin", "-p", "-", "user", "add", "alice", "--role", "read", "--new-password", "-"];
    expect(await run(args, "mine\nhers1234\n")).toMatchObject({ code: 0 });
    const [changed] = manager.asked("changeUser");
    expect(changed?.body).toEqual({ role: "read", password: "hers1234" });
    expect(changed?.authorization).toBe(`Basic ${Buffer.from("admin:mine").toString("base64")}`);
  });

  it("add changes nobody who is there, and change makes nobody", async () => {
    users(alice);
    expect(await run(["user", "add", "alice", "--role", "admin"])).toMatchObject({ code: 5 });
    users();
    expect(await run(["user", "change", "alice", "--role", "admin"])).toMatchObject({ code: 2 });
    expect(manager.asked("changeUser")).toEqual([]);
  });

  it("change sends a public key, and never a private one", async () => {
    users(alice);
    const [publicKey, privateKey] = [join(directory, "id.pub"), join(directory, "id")];
    await writeFile(publicKey, "ssh-ed25519 AAAAC3Nz alice@example\n");
    await writeFile(privateKey, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n");
    expect(await run(["user", "change", "alice", "--public-key", publicKey])).toMatchObject({ code: 0 });
    expect(manager.asked("changeUser")[0]?.body).toEqual({ publicKeys: ["ssh-ed25519 AAAAC3Nz alice@example"] });
    expect(await run(["user", "change", "alice", "--public-key", privateKey])).toMatchObject({ code: 3 });
    expect(manager.asked("changeUser")).toHaveLength(1);
  });

  it("remove removes", async () => {
    users(alice);
    expect(await run(["user", "remove", "alice"])).toMatchObject({ code: 0, stdout: "User 'alice' removed.\n" });
  });

  it("a change that is not answered is unconfirmed", async () => {
    users(alice);
    manager.script.removeUser = () => (response) => void response.destroy();
    expect(await run(["user", "remove", "alice"])).toMatchObject({ code: 11 });
  });
});

describe("token", () => {
  const token = { id: "7", user: "backup", label: "nightly", createdAt: ago(60_500) };

  it("create shows it once", async () => {
    manager.script = { createToken: () => ({ ...token, token: "vmm_secret" }) };
    expect((await run(["token", "create", "backup", "--label", "nightly", "--lifetime", "90d"])).stdout).toBe(
      "Token 7 of 'backup' made. It is shown this once:\nvmm_secret\n",
    );
    expect(manager.seen[0]?.body).toEqual({ user: "backup", label: "nightly", expiresInMs: 7_776_000_000 });
    expect((await run(["token", "create", "backup", "--quiet"])).stdout).toBe("vmm_secret\n");
  });

  it("list and revoke", async () => {
    manager.script = { listTokens: () => ({ tokens: [token] }), revokeToken: () => ({}) };
    expect((await run(["token", "list"])).stdout).toBe(
      "ID  USER    LABEL    MADE          LAST USED\n7   backup  nightly  1 minute ago  never\n",
    );
    expect(await run(["token", "revoke", "7"])).toMatchObject({ code: 0, stdout: "Token 7 revoked.\n" });
    expect(manager.asked("revokeToken")[0]?.params).toEqual({ id: "7" });
  });
});

it("audit tells who did what", async () => {
  const time = "2026-01-01T00:00:00.000Z";
  const head = { id: 3, time, who: "alice", via: "https:127.0.0.1", action: "set", vm: WEB1, keys: ["foo"] };
  manager.script = { listAudit: () => ({ records: [{ ...head, outcome: "ok", values: { foo: "bar" } }] }) };
  expect((await run(["audit", "-v", "web1", "--who", "alice", "--before", "9", "--limit", "2"])).stdout).toBe(
    "ID  TIME                      WHO    VIA              ACTION  VM    OUTCOME  KEYS\n" +
      "3   2026-01-01T00:00:00.000Z  alice  https:127.0.0.1  set     web1  ok       foo='bar'\n",
  );
  expect(manager.seen[0]?.query).toEqual({ vm: "web1", who: "alice", before: "9", limit: "2" });
});

it("health tells what works", async () => {
  manager.script = {
    health: () => ({
      status: "ok",
      version: "1.2.3",
      startedAt: ago(60_500),
      inventory: [{ name: "libvirt qemu:///system", isConnected: true, vms: 3 }],
      links: { up: 2, silent: 1, held: 0, down: 0, connecting: 0, off: 0 },
      messages: { queued: 0, delivered: 0, read: 0, acknowledged: 0, expired: 0, refused: 0 },
      peers: {
        broker: "amqps://vmm@broker/peers",
        state: "connected",
        managers: [
          { host: "kvm2", id: "m2", vms: 20 },
          { host: "kvm3", id: "m3", vms: 0 },
        ],
      },
      sinks: {
        configured: [
          { id: "config:main", state: "disconnected", reason: "ECONNREFUSED", backlog: 12, deadLetters: 1 },
          { id: "config:ops", state: "idle", backlog: 0, deadLetters: 0 },
        ],
        subscribed: { connected: 2, disconnected: 0, idle: 3, disabled: 1 },
      },
    }),
  };
  expect((await run(["health"])).stdout.split("\n")).toEqual([
    `manager                 ${socket}`,
    "status                  ok",
    "version                 1.2.3",
    "started                 1 minute ago",
    "libvirt qemu:///system  3 VMs",
    "links                   2 up, 1 silent",
    "messages                none",
    "other managers          connected (amqps://vmm@broker/peers)",
    "                        kvm2: 20 VMs",
    "                        kvm3: 0 VMs",
    "config:main             disconnected: ECONNREFUSED; 12 events behind, 1 dead letter",
    "config:ops              idle",
    "subscribed sinks        2 connected, 3 idle, 1 disabled",
    "",
  ]);
});
