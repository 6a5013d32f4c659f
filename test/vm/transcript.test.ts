// What a user types and reads, on both sides of a real virtio-serial port.
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { RequestError } from "../../shared/protocol/errors.ts";
import type { Request } from "../../shared/protocol/session.ts";
import { version } from "../../shared/version.ts";
import { type Guest, restoreSnapshot } from "./harness/guest.ts";
import { GuestFiles } from "./harness/qemu-args.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";
import { saveGuestWithAgent } from "./support/guests.ts";
import { Host } from "./support/host.ts";
import { agent, agentSays, startVmmessage, vm, vmmessage } from "./support/programs.ts";

/** Every byte that cannot stand in UTF-8, and a few that can. */
const bytes = Buffer.from([0x00, 0x0a, 0x1e, 0x41, 0x80, 0xbf, 0xc0, 0xc1, 0xed, 0xa0, 0x80, 0xf5, 0xff, 0xfe]);
const opening = [`vmmessage ${version}.`, "Connected.", `VM : '${vm}' has status :  Running.`];

let snapshot: Snapshot;
let guest: Guest;

beforeAll(async () => {
  snapshot = await saveGuestWithAgent();
});
afterAll(() => snapshot.remove());

beforeEach(async () => {
  guest = await restoreSnapshot(snapshot);
  return () => guest.stop();
});

describe("the transcript of ovm_vmmessage", () => {
  test("is the same line for line when a key is sent to the guest and its answer is queried", async () => {
    const sent = await vmmessage(guest, ["-k", "foo", "-V", "bar"]);
    expect(sent).toMatchObject({ exitCode: 0, stderr: "" });
    expect(sent.stdout.split("\n")).toEqual([...opening, "Sending message.", "Message sent successfully.", ""]);

    expect(await agent(guest, ["-l"])).toEqual({ exitCode: 0, stdout: '{"foo":"bar"}\n', stderr: "" });
    expect(await agent(guest, ["-p", "key1=value1"])).toEqual({ exitCode: 0, stdout: "", stderr: "" });

    const queried = await vmmessage(guest, ["-q", "key1"]);
    expect(queried).toMatchObject({ exitCode: 0, stderr: "" });
    expect(queried.stdout.split("\n")).toEqual([
      ...opening,
      "Querying for key 'key1'.",
      "Query successful.",
      "Query for Key : 'key1' returned value 'value1'.",
      expect.stringMatching(/^Key set \d+ seconds? ago\.$/),
      "",
    ]);
  });

  test("tells an age in minutes when it is one", async () => {
    await agentSays(guest, ["-p", "old=hat"]);
    await guest.stopAgent();
    await makeKeysOlder(125_000);
    await guest.startAgent();
    const { stdout } = await vmmessage(guest, ["-q", "old", "--timeout", "60"]);
    expect(stdout).toContain("returned value 'hat'.\nKey set 2 minutes ago.\n");
  });

  test("ends with exit code 1 and a sentence on stderr when there is no such key", async () => {
    const { exitCode, stdout, stderr } = await vmmessage(guest, ["-q", "nothing"]);
    expect(exitCode).toBe(1);
    expect(stdout.split("\n")).toEqual([...opening, "Querying for key 'nothing'.", ""]);
    expect(stderr).toBe("vmmessage: there is no key 'nothing'\n");
  });
});

describe("the guest's commands", () => {
  test("list, get, delete and clear what the host has set, and set what it can query", async () => {
    await vmmessage(guest, ["-k", "a", "-V", "1", "-k", "b", "-V", "=2", "-k", "c", "-V", 'a "line"\nand one']);
    expect(await agentSays(guest, ["--list-params"])).toBe('{"a":"1"}\n{"b":"=2"}\n{"c":"a \\"line\\"\\nand one"}');
    expect(await agent(guest, ["-g", "c"])).toEqual({ exitCode: 0, stdout: 'a "line"\nand one\n', stderr: "" });
    expect(await agent(guest, ["-r", "a"])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    expect(await agent(guest, ["-g", "a"])).toMatchObject({ exitCode: 1, stdout: "" });
    await agentSays(guest, ["-p", "d==literal", "-p", "e="]);
    expect((await vmmessage(guest, ["-q", "d", "--quiet"])).stdout).toBe("=literal\n");
    expect(await agent(guest, ["-x"])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    expect(await agent(guest, ["-l"])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    expect((await vmmessage(guest, ["-q", "d"])).exitCode).toBe(1);
  });

  test("find every key as a file, its value's bytes and nothing else in it", async () => {
    await vmmessage(guest, ["-k", "com.example/role", "-V", "frontend", "-k", "plain", "-V", ""]);
    expect(await guest.shell("cd /run/vmmessage/keys; for f in * .*; do [ -f $f ] && echo $f; done; :")).toBe(
      "com.example%2Frole\nplain\n.revision",
    );
    expect(await guest.readText("/run/vmmessage/keys/com.example%2Frole")).toBe("frontend");
    expect(await guest.readText("/run/vmmessage/keys/plain")).toBe("");
    expect(await guest.shell("stat -c %a /run/vmmessage/keys/plain")).toBe("600");
    await vmmessage(guest, ["delete", "plain"]);
    expect(await guest.shell("ls /run/vmmessage/keys")).toBe("com.example%2Frole");
  });

  test("--wait prints the value as soon as the host sets the key, and gives up in time when it does not", async () => {
    const waiting = await guest.qga.spawn(["agent", "--wait", "com.example.go", "--timeout", "100"]);
    await waitFor("its connection to the agent", async () => {
      return (await guest.shell(`ls -l /proc/${waiting}/fd 2>&-; :`)).includes("socket:");
    });
    await vmmessage(guest, ["-k", "com.example.go", "-V", "now"]);
    expect(await guest.qga.waitForExit(waiting)).toEqual({ exitCode: 0, stdout: "now\n", stderr: "" });
    expect(await agent(guest, ["--wait", "never", "--timeout", "1"])).toMatchObject({ exitCode: 10, stdout: "" });
  });
});

describe("a value", () => {
  test("that is not UTF-8 survives byte for byte from the host to the guest", async () => {
    expect(await vmmessage(guest, ["--value-stdin", "raw"], { input: bytes })).toMatchObject({ exitCode: 0 });
    await guest.shell("agent -g raw >/tmp/value");
    expect(await guest.readFile("/tmp/value")).toEqual(Buffer.concat([bytes, Buffer.from("\n")]));
    expect(await guest.readFile("/run/vmmessage/keys/raw")).toEqual(bytes);
    expect(await agentSays(guest, ["-l"])).toBe(`{"raw":{"base64":"${bytes.toString("base64")}"}}`);
  });

  test("that is not UTF-8 survives byte for byte from the guest to the host", async () => {
    await agentSays(guest, ["--value-stdin", "raw"], { input: bytes });
    expect((await vmmessage(guest, ["-q", "raw", "--quiet"])).bytes).toEqual(Buffer.concat([bytes, Buffer.from("\n")]));
    expect((await vmmessage(guest, ["-q", "raw"])).stdout).toContain(`value 'base64:${bytes.toString("base64")}'.`);
  });

  test("that is a secret is given by name only, and never reaches the disk", async () => {
    const secret = "correct horse battery staple";
    await agentSays(guest, ["-p", "plain=this goes to the disk"]);
    const sent = await vmmessage(guest, ["-k", "password", "-V", secret, "--secret", "--json"]);
    expect(JSON.parse(sent.stdout)).toMatchObject({ volatile: true });
    expect(await agentSays(guest, ["-g", "password"])).toBe(secret);
    expect(await agentSays(guest, ["-l"])).not.toContain(secret);
    expect((await vmmessage(guest, ["list"])).stdout).toMatch(/^password .* secret/m);
    expect((await vmmessage(guest, ["list", "--json"])).stdout).not.toContain(secret);
    expect(await guest.shell("stat -c %a /run/vmmessage/keys/password")).toBe("400");
    await guest.shell("sync");
    const disk = await readFile(new GuestFiles(guest.dir).overlay);
    expect(disk.includes("this goes to the disk")).toBe(true);
    expect(disk.includes(secret)).toBe(false);
  });
});

describe("the host", () => {
  test("that waits for an acknowledgement gets it with its result when a program in the guest gives it", async () => {
    await using sending = startVmmessage(guest, ["-k", "job", "-V", "42", "--wait-ack"]);
    await sending.printed("Message sent successfully.");
    await agentSays(guest, ["--ack", "job", "--result", "done: ünder 1 s"]);
    const { exitCode, stdout, stderr } = await sending.outcome;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout.split("\n").slice(-3)).toEqual([
      "Message sent successfully.",
      "Message acknowledged with result 'done: ünder 1 s'.",
      "",
    ]);
  });

  test("that waits for an acknowledgement in vain says unconfirmed", async () => {
    const inVain = ["-k", "job", "-V", "42", "--message-id", "job-42", "--wait-ack", "--timeout", "3"];
    const { exitCode, stderr } = await vmmessage(guest, inVain);
    expect(exitCode).toBe(11);
    expect(stderr).toBe(
      `vmmessage: '${vm}' has the message, but nothing there acknowledged it: the time is up; ` +
        "the same command with --message-id job-42 has one effect\n",
    );
  });

  test("that watches sees what the guest changes", async () => {
    await agentSays(guest, ["-p", "before=1"]);
    await using watching = startVmmessage(guest, ["watch"]);
    await watching.printed("1 set by guest: before = '1'\n");
    await agentSays(guest, ["-p", "during=2"]);
    await watching.printed("2 set by guest: during = '2'\n");
    await agentSays(guest, ["-r", "before"]);
    await watching.printed("3 deleted: before\n");
    const { exitCode, stderr } = await watching.interrupt();
    expect(exitCode).toBe(130);
    expect(stderr).toContain("nobody else can use its channel meanwhile");
  });

  test("gets the events that the guest queued while no host was there, in their order, each once", async () => {
    for (const event of ["app.started", "app.ready"]) await agentSays(guest, ["-e", event]);
    expect(await agent(guest, ["-e", "not an event"])).toMatchObject({ exitCode: 3 });
    await using takesNothing = await Host.connect(guest.channelPath);
    expect((await takesNothing.client.read("info", {})).queuedMessages).toBe(2);
    await takesNothing.client.close();

    const events: string[] = [];
    const hello = { accepts: ["event" as const] };
    await using host = await Host.connect(guest.channelPath, {
      hello,
      answer: (request) => takeEvent(request, events),
    });
    await host.hello();
    await waitFor("an empty queue", async () => (await host.client.read("info", {})).queuedMessages === 0);
    expect(events).toEqual(["APP.STARTED", "APP.READY"]);
    await agentSays(guest, ["-e", "APP.STOPPED"]);
    await waitFor("the third event", () => events.at(-1) === "APP.STOPPED");
  });
});

function takeEvent(request: Request, events: string[]): Promise<unknown> {
  if (request.method !== "event") return Promise.reject(new RequestError("not-permitted", "events only"));
  events.push(request.params.event);
  return Promise.resolve({});
}

/** As if the agent had set them earlier: it counts ages by the uptime it noted. */
async function makeKeysOlder(ms: number): Promise<void> {
  const path = "/var/lib/vmmessage/cache.json";
  const file = JSON.parse(await guest.readText(path)) as { entries: { setAt: { uptimeMs: number } }[] };
  for (const { setAt } of file.entries) setAt.uptimeMs -= ms;
  await guest.writeFile(path, JSON.stringify(file));
}
