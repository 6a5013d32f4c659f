/** The program of the DNS guide with a real BIND: what events make of the zone, and what nothing can make of it. */
import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { shownEvent } from "../../../manager/events/bodies.ts";
import type { Event } from "../../../manager/events/event.ts";
import { eventJson } from "../../../manager/sinks/event-json.ts";
import type { EventType } from "../../../shared/event-types.ts";
import { HOST, nextEvent, NOON, web2 } from "../../unit/manager/sinks/events.ts";
import { BindUnderTest } from "../support/bind.ts";

const program = join(import.meta.dirname, "..", "..", "..", "examples", "dns", "update-dns.py");
const KEY = "com.example.address";
const EX_TEMPFAIL = 75;

let bind: BindUnderTest;

beforeAll(async () => {
  bind = await BindUnderTest.start("vms.example.com");
});

afterAll(() => bind.close());

const statePath = (): string => join(bind.directory, "dns.db");

/** Nothing is known, and nothing is in the zone. */
beforeEach(async () => {
  await rm(statePath(), { force: true });
  await told(of("VM.UNDEFINED"), of("VM.UNDEFINED", ofWeb2));
  expect(await bind.records()).toEqual([]);
});

interface Run {
  exitCode: number;
  stderr: string;
}

/** Runs the program as the manager does. */
function run(input: string, server = bind.address): Promise<Run> {
  const networks = ["192.0.2.0/24", "2001:db8::/32", "fe80::/10"].map((network) => `--network=${network}`);
  const args = ["--zone=vms.example.com", `--server=${server}`, `--key=${bind.keyPath}`, `--state=${statePath()}`];
  const options = { cwd: "/", env: { PATH: "/usr/bin:/bin", LANG: "C.UTF-8" } };
  return new Promise((resolve) => {
    const child = execFile(program, [...args, ...networks], options, (error, _stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : Number(error.code), stderr });
    });
    child.stdin?.end(input);
  });
}

/** All are taken, in this order, by a program that was just started: what it knows of earlier ones is on disk. */
async function told(...events: Event[]): Promise<void> {
  expect(await run(events.map(bodyOf).join(""))).toMatchObject({ exitCode: 0 });
}

function bodyOf(event: Event): string {
  return `${eventJson(event, "cloudevents", HOST)?.toString() ?? ""}\n`;
}

const ofWeb2: Partial<Event> = { resourceUUID: web2.id, resourceName: web2.name };

/** Of web1 unless said otherwise. */
function of(type: EventType, changes: Partial<Event> = {}): Event {
  return nextEvent({ type, ...changes });
}

function says(value: string, changes: Partial<Event> = {}): Event {
  return of("KEY.SET", { data: { key: KEY }, value: { value }, ...changes });
}

function record(name: string, address: string): string {
  return `${name}.vms.example.com. 60 IN ${address.includes(":") ? "AAAA" : "A"} ${address}`;
}

describe("a VM has a record", () => {
  test("from when it runs and has said its address, in either order, till it has stopped", async () => {
    await told(of("VM.RUNNING"));
    expect(await bind.records()).toEqual([]);
    await told(says("192.0.2.10"));
    expect(await bind.records()).toEqual([record("web1", "192.0.2.10")]);
    await told(says("192.0.2.20", ofWeb2), of("VM.RUNNING", ofWeb2));
    expect(await bind.records()).toEqual([record("web1", "192.0.2.10"), record("web2", "192.0.2.20")]);
    await told(of("VM.STOPPED"), of("VM.CRASHED", ofWeb2));
    expect(await bind.records()).toEqual([]);
  });

  test("with the address it has now, of either kind, and none when it takes it back", async () => {
    await told(of("VM.RUNNING"), says("192.0.2.10"), says("192.0.2.11"));
    expect(await bind.records()).toEqual([record("web1", "192.0.2.11")]);
    await told(says("2001:DB8:0::10"));
    expect(await bind.records()).toEqual([record("web1", "2001:db8::10")]);
    await told(of("KEY.DELETED", { data: { key: KEY } }));
    expect(await bind.records()).toEqual([]);
  });

  test("again when it is started again with the address it had: a key that stays is not told again", async () => {
    await told(of("VM.RUNNING"), says("192.0.2.10"), of("VM.STOPPED"), of("VM.RUNNING", { isResync: true }));
    expect(await bind.records()).toEqual([record("web1", "192.0.2.10")]);
  });

  test("no more when it is undefined, and one with its UUID that is defined later begins anew", async () => {
    await told(of("VM.RUNNING"), says("192.0.2.10"), of("VM.UNDEFINED"));
    expect(await bind.records()).toEqual([]);
    const later = NOON + 1;
    await told(of("VM.RUNNING", { sequence: 1, time: later }));
    expect(await bind.records()).toEqual([]);
    await told(says("192.0.2.12", { sequence: 2, time: later }));
    expect(await bind.records()).toEqual([record("web1", "192.0.2.12")]);
  });

  test("whatever other keys and events there are", async () => {
    const other = { data: { key: `${KEY}-2` } };
    await told(of("VM.RUNNING"), says("192.0.2.10"), says("192.0.2.66", other), of("KEY.DELETED", other));
    await told(of("VM.PAUSED"), of("VM.RESET"), nextEvent({ type: "SINK.TEST", resourceUUID: "" }));
    expect(await bind.records()).toEqual([record("web1", "192.0.2.10")]);
  });
});

describe("an event that comes", () => {
  test("twice does once what it does", async () => {
    const events = [of("VM.RUNNING"), says("192.0.2.10")];
    await told(...events, ...events);
    expect(await bind.records()).toEqual([record("web1", "192.0.2.10")]);
    const stopped = of("VM.STOPPED");
    await told(stopped, stopped);
    expect(await bind.records()).toEqual([]);
  });

  test("after later ones says nothing that they have not said better", async () => {
    const late = [of("VM.RUNNING"), says("192.0.2.66")];
    await told(of("VM.RUNNING"), says("192.0.2.10"));
    await told(...late);
    expect(await bind.records()).toEqual([record("web1", "192.0.2.10")]);
    const lateStart = of("VM.RUNNING");
    await told(of("VM.STOPPED"), lateStart);
    expect(await bind.records()).toEqual([]);
  });

  test("while no server answers is to be delivered again, and is the first time then", async () => {
    await told(of("VM.RUNNING"));
    const event = says("192.0.2.10");
    await bind.kill();
    expect(await run(bodyOf(event))).toMatchObject({ exitCode: EX_TEMPFAIL });
    await bind.restart();
    await told(event);
    expect(await bind.records()).toEqual([record("web1", "192.0.2.10")]);
  });

  test("from the log, as `vmmessage events --json` prints it, counts as a delivered one", async () => {
    const events = [of("VM.RUNNING"), says("192.0.2.10")];
    const lines = events.map((event) => `${JSON.stringify(shownEvent(event, "0123456789abcdef"))}\n`);
    expect(await run(lines.join(""))).toMatchObject({ exitCode: 0 });
    expect(await bind.records()).toEqual([record("web1", "192.0.2.10")]);
  });
});

describe("nobody can make it do anything else: not", () => {
  const other = record("web2", "192.0.2.20");
  const command = "update add evil.vms.example.com. 60 A 192.0.2.66";
  const deletion = "update delete web2.vms.example.com. A";

  beforeEach(() => told(of("VM.RUNNING", ofWeb2), says("192.0.2.20", ofWeb2)));

  test.each([
    `192.0.2.66\n${command}`,
    `192.0.2.66\r\n${deletion}\nsend\n`,
    `192.0.2.66 ; ${command}`,
    `192.0.2.66;${command}`,
    "192.0.2.66 ",
    "192.0.2.66\n",
    "192.0.2.66/32",
    "192.0.2.066",
    "192.0.2",
    "3221226050",
    "web2.vms.example.com",
    `fe80::66%\n${command}`,
    `2001:db8::66%\n${deletion}`,
    "fe80::66%eth0",
    "198.51.100.66",
    "127.0.0.1",
    "::ffff:192.0.2.66",
    "\u0661\u0669\u0662.0.2.66",
    "\0",
    "",
  ])("a guest with the address %j, which has no record then", async (address) => {
    await told(of("VM.RUNNING"), says("192.0.2.10"));
    const { exitCode, stderr } = await run(bodyOf(says(address)));
    expect({ exitCode, lines: stderr.split("\n").length - 1 }).toEqual({ exitCode: 0, lines: 1 });
    expect(await bind.records()).toEqual([other]);
  });

  test.each([
    `web1\n${command}`,
    `web1.vms.example.com. A\n${deletion}`,
    `web1 ; ${command}`,
    "web 1",
    "web2.vms",
    "web2.vms.example.com.",
    "*",
    "@",
    "",
    "-web1",
    "web1-",
    "web_1",
    "web1\n",
    "w\u00ebb1",
    "\u212a1",
    "a".repeat(64),
  ])("a VM with the name %j, which has no record", async (name) => {
    const named = { resourceName: name };
    for (const event of [of("VM.RUNNING", named), says("192.0.2.10", named), of("VM.STOPPED", named)]) {
      expect(await run(bodyOf(event))).toMatchObject({
        exitCode: 0,
        stderr: expect.stringContaining("name") as string,
      });
      expect(await bind.records()).toEqual([other]);
    }
  });

  test("somebody without its key, or with other types than its own", async () => {
    const update = (...lines: string[]): Promise<number> => nsupdate(["zone vms.example.com.", ...lines, "send"]);
    expect(await update("update add web3.vms.example.com. 60 A 192.0.2.30")).toBe(0);
    expect(await update("update delete web3.vms.example.com. A")).toBe(0);
    expect(await update("update add web3.vms.example.com. 60 TXT x")).toBe(2);
    expect(await update("update delete vms.example.com. NS")).toBe(2);
    expect(
      await nsupdate(["zone vms.example.com.", "update add web3.vms.example.com. 60 A 192.0.2.30", "send"], []),
    ).toBe(2);
    expect(await bind.records()).toEqual([other]);
  });

  function nsupdate(lines: string[], args = ["-k", bind.keyPath]): Promise<number> {
    return new Promise((resolve) => {
      const child = execFile("nsupdate", args, (error) => {
        resolve(error === null ? 0 : Number(error.code));
      });
      child.stdin?.end([`server 127.0.0.1 ${bind.port}`, ...lines, ""].join("\n"));
    });
  }
});
