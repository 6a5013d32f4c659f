import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { type EventEmitter, once } from "node:events";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import ssh2, { type Client, type ClientChannel } from "ssh2";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openHostKey } from "../../../../manager/console/host-key.ts";
import { exitCodes } from "../../../../shared/protocol/errors.ts";
import { ol6, scriptedService } from "../../../unit/manager/console/scripted-service.ts";
import { ScriptedConsole } from "./scripted-console.ts";
import { finish } from "./ssh.ts";

const SEND = "sendVmMessage Vm name=ol6u3apitest key=foo message=bar";

let manager: ScriptedConsole;
let key: string;

beforeEach(async () => {
  manager = await new ScriptedConsole().start();
  key = addAdmin();
});

afterEach(() => manager[Symbol.asyncDispose]());

function addAdmin(): string {
  const made = manager.client.makeKey("admin_key");
  manager.users.allow("admin", made);
  return made;
}

async function restart(changes: Parameters<ScriptedConsole["start"]>[0]): Promise<void> {
  await manager.server.close();
  await manager.start(changes);
}

async function expectServing(): Promise<void> {
  expect((await finish(manager.client.withKey(key, "admin@127.0.0.1", "help"))).code).toBe(0);
}

async function openSocket(): Promise<Socket> {
  const socket = connect(manager.server.port, "127.0.0.1");
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

/** Reads to the end. */
async function closed(socket: Socket): Promise<void> {
  socket.resume();
  if (!socket.closed) await ended(socket);
}

/** Also after an error. */
function ended(emitter: EventEmitter): Promise<void> {
  return new Promise((resolve) => {
    emitter.once("close", () => {
      resolve();
    });
  });
}

/** A client of ssh2: it can be told to do what ssh would not. */
async function logIn(): Promise<Client> {
  const client = new ssh2.Client();
  client.on("error", () => undefined);
  const port = manager.server.port;
  client.connect({ host: "127.0.0.1", port, username: "admin", privateKey: readFileSync(key) });
  await once(client, "ready");
  return client;
}

function openShell(client: Client): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    client.shell(false, (error: Error | undefined, channel) => {
      if (error === undefined) resolve(channel);
      else reject(error);
    });
  });
}

/** What ssh2 does below its clients: any message at any time. */
interface Wire {
  session(channel: number, window: number, packetBytes: number): void;
  shell(channel: number, wantReply: boolean): void;
  channelData(channel: number, data: Buffer): void;
  channelClose(channel: number): void;
}

function wireOf(client: Client): Wire {
  return (client as unknown as { _protocol: Wire })._protocol;
}

describe("a client that speaks no SSH", () => {
  it.each([
    ["garbage", randomBytes(64 * 1024)],
    ["garbage after its name", Buffer.concat([Buffer.from("SSH-2.0-x\r\n"), randomBytes(64 * 1024)])],
    ["a line without an end", Buffer.alloc(1024 * 1024, "x")],
    ["lines without an end", Buffer.alloc(1024 * 1024, "x\n")],
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n".repeat(1_000))],
  ])("is cut off: %s", async (_, bytes) => {
    const socket = await openSocket();
    socket.write(bytes);
    await closed(socket);
    await expectServing();
  });

  it("is cut off after many small pieces", async () => {
    const socket = await openSocket();
    const pieces = setInterval(() => socket.write("x\n".repeat(500)), 1);
    await closed(socket);
    clearInterval(pieces);
    await expectServing();
  });

  it("that goes away in the middle of anything is forgotten", async () => {
    for (const text of ["", "SSH", "SSH-2.0-x\r\n", "SSH-2.0-x\r\n\u0000\u0000"]) {
      const socket = await openSocket();
      socket.write(text);
      socket.resetAndDestroy();
    }
    await expectServing();
  });

  it("that says nothing is cut off after the grace time", async () => {
    await restart({ limits: { loginGraceMs: 100 } });
    const silent = await openSocket();
    const named = await openSocket();
    named.write("SSH-2.0-x\r\n");
    await Promise.all([closed(silent), closed(named)]);
  });
});

describe("a client with many connections", () => {
  it("has so many of an address, and no more until one ends", async () => {
    await restart({ limits: { connectionsPerAddress: 2 } });
    const first = await openSocket();
    const second = await openSocket();
    await Promise.all([once(first, "data"), once(second, "data")]);
    await closed(await openSocket());
    first.destroy();
    await vi.waitFor(expectServing);
    second.destroy();
  });

  it("has so many in all", async () => {
    await restart({ limits: { connections: 1 } });
    const first = await openSocket();
    await once(first, "data");
    await closed(await openSocket());
    first.destroy();
    await vi.waitFor(expectServing);
  });
});

describe("a client that is logged in", () => {
  it("has four sessions at a time", async () => {
    const client = await logIn();
    const shell = await openShell(client);
    for (let more = 0; more < 3; more += 1) await openShell(client);
    await expect(openShell(client)).rejects.toThrow(/Channel open failure/);
    shell.resume().end("exit\n");
    await once(shell, "close");
    await vi.waitFor(() => openShell(client));
    client.end();
  });

  it("cannot open and close channels without end", async () => {
    const client = await logIn();
    const wire = wireOf(client);
    for (let channel = 100; channel < 300; channel += 1) {
      wire.session(channel, 65_536, 32_768);
      wire.channelClose(channel - 100);
    }
    await expect(openShell(client)).rejects.toThrow(/Channel open failure/);
    client.end();
    await expectServing();
  });

  it.each([0, 1])("that takes packets of %i bytes is cut off", async (packetBytes) => {
    const client = await logIn();
    wireOf(client).session(100, 2 ** 31, packetBytes);
    wireOf(client).shell(0, false);
    wireOf(client).channelData(0, Buffer.from("help\n"));
    await ended(client);
    await expectServing();
  });

  it("that sends garbage is cut off, also while it has a terminal open", async () => {
    const client = await logIn();
    const shell = await openShell(client);
    shell.resume().write("help\n");
    const isClosed = ended(client);
    (client as unknown as { _sock: Socket })._sock.write(randomBytes(64 * 1024));
    await isClosed;
    await expectServing();
  });

  it("that sends text in another encoding is told so", async () => {
    const client = await logIn();
    const shell = await openShell(client);
    let answer = "";
    shell.on("data", (chunk: Buffer) => (answer += chunk.toString()));
    shell.end(Buffer.from("sendVmMessage Vm name=ol6u3apitest key=k message=gr\u00fc\u00df\n", "latin1"));
    await once(shell, "close");
    expect(answer).toContain("Error Msg: the line is not UTF-8");
    expect(manager.sent).toEqual([]);
    client.end();
  });

  it.each([
    ["while a command runs", SEND],
    ["after the session ended", "exit"],
  ])("that sends more than it was allowed to %s is cut off", async (_, line) => {
    await restart({ service: scriptedService({ send: () => new Promise(() => undefined) }) });
    const client = await logIn();
    // never closed by the client: ssh2 closes a channel that was read to its end
    const wire = wireOf(client);
    wire.session(100, 65_536, 32_768);
    wire.shell(0, false);
    wire.channelData(0, Buffer.from(`${line}\n`));
    const isClosed = ended(client);
    const flood = setInterval(() => {
      for (let i = 0; i < 32; i += 1) wire.channelData(0, Buffer.alloc(32_000, "x"));
    }, 1);
    await isClosed;
    clearInterval(flood);
    await expectServing();
  });

  it("that does not read is not answered ahead, and gets all when it reads", async () => {
    const commands = 200;
    let answered = 0;
    const listVms = () => {
      answered += 1;
      return Array.from({ length: 1_000 }, () => ol6);
    };
    await restart({ service: scriptedService({ listVms }) });
    const client = await logIn();
    const shell = await openShell(client);
    shell.pause();
    shell.end("list Vm\n".repeat(commands));
    // 2 MiB are allowed to ssh2's clients, an answer has 60 KiB
    await vi.waitUntil(() => answered >= 30);
    for (let i = 0; i < 3; i += 1) await expectServing();
    expect(answered).toBeLessThan(100);
    let lines = 0;
    shell.on("data", (chunk: Buffer) => (lines += chunk.toString("latin1").split("\n").length - 1));
    shell.resume();
    await once(shell, "close");
    expect(lines).toBe(commands * 1_004);
    client.end();
  });

  it("that goes away while a command runs ends the command", async () => {
    let signal: AbortSignal | undefined;
    const send = (_who: unknown, _vm: unknown, _message: unknown, given?: AbortSignal) => {
      signal = given;
      return new Promise<never>(() => undefined);
    };
    await restart({ service: scriptedService({ send }) });
    const running = manager.client.withKey(key, "admin@127.0.0.1", SEND);
    await vi.waitUntil(() => signal !== undefined);
    expect(signal?.aborted).toBe(false);
    running.kill();
    await vi.waitUntil(() => signal?.aborted === true);
    await running.finished;
  });

  it("that types nothing is told so and ended", async () => {
    await restart({ limits: { idleMs: 300 } });
    const { code, stderr } = await manager.client.withKey(key, "-tt", "admin@127.0.0.1").finished;
    expect(stderr).toContain("nothing was typed for too long");
    expect(code).toBe(exitCodes.unreachable);
  });

  it("cannot hold up others with a long line on a terminal", async () => {
    const terminal = manager.client.withKey(key, "-tt", "admin@127.0.0.1");
    await vi.waitUntil(() => terminal.printed.includes("OVM> "));
    // each key in front of the line draws all of it
    terminal.write(`${"x".repeat(16_000)}\u0001${"y".repeat(5_000)}`);
    await expectServing();
    terminal.kill();
    await terminal.finished;
    await expectServing();
  });

  it("may have a terminal of any width", async () => {
    const client = await logIn();
    for (const cols of [0, 1, 2 ** 32 - 1]) {
      const shell = await new Promise<ClientChannel>((resolve, reject) => {
        client.shell({ cols, rows: 0 }, (error: Error | undefined, channel) => {
          if (error === undefined) resolve(channel);
          else reject(error);
        });
      });
      shell.setWindow(0, 0, 0, 0);
      shell.end("help\rexit\r");
      shell.resume();
      await once(shell, "close");
    }
    client.end();
    await expectServing();
  });
});

describe("what cannot be started", () => {
  it("says that the port is taken", async () => {
    const { port } = manager.server;
    await using second = new ScriptedConsole();
    await expect(second.start({ port })).rejects.toThrow(
      `the console cannot listen on 127.0.0.1 port ${port}: EADDRINUSE`,
    );
  });

  it("says that others can read the host key, or that it is none, and keeps it", async () => {
    const path = join(manager.directory, "console_host_ed25519_key");
    chmodSync(path, 0o640);
    await expect(restart({})).rejects.toThrow(/can be read by others; chmod 600/);
    chmodSync(path, 0o600);
    writeFileSync(path, "not a key");
    await expect(manager.start({})).rejects.toThrow(/is not a private key/);
    expect(readFileSync(path, "utf8")).toBe("not a key");
    expect(readdirSync(manager.directory).filter((name) => name.startsWith("console_"))).toHaveLength(1);
  });

  it("two managers that start at the same moment have one key", async () => {
    await using both = new ScriptedConsole();
    const keys = await Promise.all([openHostKey(both.directory), openHostKey(both.directory)]);
    expect(keys[0]).toEqual(keys[1]);
    expect(readdirSync(both.directory)).toEqual(["console_host_ed25519_key"]);
  });
});
