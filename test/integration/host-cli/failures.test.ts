import { once } from "node:events";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { RequestError } from "../../../shared/protocol/errors.ts";
import { encodeFrame } from "../../../shared/protocol/frame.ts";
import { listenForOne, type Outcome, startVmmessage, temporaryDirectory, vmmessage } from "./programs.ts";
import { deaf, EPOCH, flood, type Script, scriptedGuest } from "./scripted-guest.ts";

let directory: string;
let socket: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  socket = join(directory, "web1.sock");
});

/** `vmmessage --socket ... --timeout 1` */
function web1(...args: string[]): Promise<Outcome> {
  return vmmessage(["--socket", socket, "--timeout", "1", ...args]);
}

const SET = ["-k", "a", "-V", "1"];
const ENTRY = { key: "a", value: "1", setBy: "host", setAt: "2026-01-01T00:00:00Z", ageMs: 0, revision: 1 };

describe("nothing to connect to", () => {
  it("no socket: the VM is off", async () => {
    const outcome = await web1(...SET);
    expect(outcome).toMatchObject({ code: 10 });
    expect(outcome.stderr).toBe(
      `vmmessage: the channel's socket ${socket} does not exist; is the VM 'web1' running?\n`,
    );
  });

  it("a socket that nobody listens on, as a killed QEMU leaves it: the VM is off", async () => {
    const listener = await listenForOne(socket);
    listener.kill("SIGKILL");
    await once(listener, "exit");
    const outcome = await web1("-q", "a");
    expect(outcome).toMatchObject({ code: 10 });
    expect(outcome.stderr).toContain(`nobody listens on ${socket}`);
  });

  it("a socket that we may not open", async () => {
    await scriptedGuest(socket, { connected: deaf });
    await chmod(socket, 0);
    // Root may open everything until it gives that right away (capabilities(7), CAP_DAC_OVERRIDE).
    const under = process.getuid?.() === 0 ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] : [];
    expect(await vmmessage(["--socket", socket, "-q", "a"], { under })).toMatchObject({ code: 6 });
  });

  it("a path that is too long for a socket", async () => {
    expect(await vmmessage(["--socket", `/${"x".repeat(200)}`, "-q", "a"])).toMatchObject({ code: 3 });
  });

  it("another host has no channels of ours", async () => {
    const outcome = await web1("-h", "ovm-manager", "-u", "admin", "-p", "secret1", ...SET);
    expect(outcome).toMatchObject({ code: 3, stdout: "" });
    expect(outcome.stderr).toContain("--socket asks no manager, and -h ovm-manager names one; give one of them");
  });
});

describe("a guest that does not play along", () => {
  it("without an agent: connected, but no answer", async () => {
    await scriptedGuest(socket, { connected: deaf });
    const outcome = await web1(...SET, "--json");
    expect(outcome).toMatchObject({ code: 10 });
    expect(JSON.parse(outcome.stdout)).toMatchObject({
      error: {
        code: "unreachable",
        message: expect.stringContaining("no agent in 'web1' answered within 1 s") as string,
      },
    });
  });

  it("that goes away before it answers", async () => {
    await scriptedGuest(socket, { connected: (channel) => channel.once("data", () => channel.destroy()) });
    const outcome = await web1("-q", "a");
    expect(outcome).toMatchObject({ code: 10 });
    expect(outcome.stderr).toContain("was closed before the guest answered; did the VM 'web1' stop?");
  });

  it("whose agent speaks other versions only", async () => {
    await scriptedGuest(socket, {
      connected: (channel) => {
        channel.once("data", (bytes) => {
          const { id } = JSON.parse(bytes.subarray(10, -1).toString()) as { id: string };
          const error = new RequestError("no-common-version", "we speak version 99", { versions: [99] });
          channel.write(encodeFrame({ jsonrpc: "2.0", id, error: error.toRpc() }));
        });
      },
    });
    const outcome = await web1("-q", "a");
    expect(outcome).toMatchObject({ code: 2 });
    expect(outcome.stderr).toContain("no protocol version in common; we speak 1");
  });

  it("that never answers a query", async () => {
    await scriptedGuest(socket, {});
    const outcome = await web1("-q", "a");
    expect(outcome).toMatchObject({ code: 10 });
    expect(outcome.stderr).toContain("'web1' does not answer: the time is up");
  });

  it("that never answers a change: unconfirmed, with the id it was sent under", async () => {
    await scriptedGuest(socket, {});
    const outcome = await web1(...SET, "--json");
    expect(outcome).toMatchObject({ code: 11 });
    expect(JSON.parse(outcome.stdout)).toMatchObject({
      error: { code: "unconfirmed", messageId: expect.stringMatching(/^[0-9a-f]{32}$/) as string },
    });
  });

  it.each([[SET], [["delete", "a"]], [["clear"]]])("and then it is said how %j is sent again", async (change) => {
    await scriptedGuest(socket, {});
    expect((await web1(...change)).stderr).toMatch(
      /; it may or may not be done; the same command with --message-id [0-9a-f]{32} has one effect\n$/,
    );
  });

  it("that stops in the middle of a change: unconfirmed at once", async () => {
    await scriptedGuest(socket, { answer: (_, { socket: channel }) => void channel.destroy() });
    const outcome = await vmmessage(["--socket", socket, ...SET]);
    expect(outcome).toMatchObject({ code: 11 });
    expect(outcome.stderr).toContain("the channel was closed; it may or may not be done");
  });

  it("whose answer is lost is asked again under the same id", async () => {
    const ids: string[] = [];
    await scriptedGuest(socket, {
      answer: (request) => {
        if (request.method !== "set") return undefined;
        ids.push(request.params.messageId);
        return ids.length === 1 ? undefined : { epoch: EPOCH, revision: 1, replaced: [] };
      },
    });
    expect(await vmmessage(["--socket", socket, ...SET])).toMatchObject({ code: 0 });
    expect(ids).toHaveLength(2);
    expect(ids[0]).toBe(ids[1]);
  });
});

describe("a hostile guest", () => {
  /** With little heap V8 collects early, so that what is left is kept on purpose; running out of it ends the process. */
  const SMALL_HEAP = { env: { NODE_OPTIONS: "--max-old-space-size=64" } };
  const MAX_PEAK_MIB = 250;

  const answering = (result: object): Script => ({ answer: () => result });

  it.each<[string, Script]>([
    ["an answer of the wrong shape", answering({ epoch: 1, entry: [] })],
    ["a prototype in place of an entry", answering(JSON.parse('{"__proto__":{"entry":{}},"epoch":"x"}') as object)],
    ["an entry whose key cannot be one", answering({ epoch: EPOCH, entry: { ...ENTRY, key: "a\u001b=" } })],
  ])("%s is a failure", async (_, script) => {
    await scriptedGuest(socket, script);
    expect(await web1("-q", "a")).toMatchObject({ code: 2 });
  });

  it("a refusal is printed harmless and short", async () => {
    const message = `\u001b]0;gotcha\u0007${"x".repeat(100_000)}`;
    await scriptedGuest(socket, {
      answer: () => {
        throw new RequestError("conflict", message, { junk: "y".repeat(100_000), key: "a" });
      },
    });
    const outcome = await web1(...SET);
    expect(outcome).toMatchObject({ code: 5 });
    expect(outcome.stderr).toContain("\\u001b]0;gotcha\\u0007xxx");
    expect(outcome.stderr.length).toBeLessThan(1_000);
  });

  it("a list without an end is cut off", async () => {
    let page = 0;
    await scriptedGuest(socket, {
      answer: () => {
        page += 1;
        const entries = [{ ...ENTRY, key: `key${page}`, value: "v".repeat(30_000) }];
        return { epoch: EPOCH, revision: 1, usedBytes: 0, limitBytes: 8192, entries, next: `key${page}` };
      },
    });
    const outcome = await vmmessage(["--socket", socket, "list"]);
    expect(outcome).toMatchObject({ code: 2, stderr: "vmmessage: the list is longer than a cache can be\n" });
  });

  const junk = randomBytes(65_536);
  const ready = encodeFrame({ jsonrpc: "2.0", method: "ready", params: { nonce: "00000000000000ff" } });
  const request = encodeFrame({ jsonrpc: "2.0", id: "g00.1", method: "report", params: {} });
  const unfinished = Buffer.concat([Buffer.from("\u001e00000000 "), Buffer.alloc(60_000, "x")]);

  it.each([
    ["random bytes", junk],
    ["announcements that it started", ready],
    ["requests that are none", request],
    ["a frame without an end", unfinished],
  ])("a flood of %s ends with the time-out, in bounded memory", async (_, piece) => {
    await scriptedGuest(socket, {
      connected: (channel) => {
        deaf(channel);
        flood(channel, () => piece);
      },
    });
    const flooded = startVmmessage(["--socket", socket, "--timeout", "2", "-q", "a"], SMALL_HEAP);
    let peakMib = 0;
    const measuring = setInterval(() => {
      flooded.peakMemoryMib().then(
        (mib) => (peakMib = mib || peakMib),
        () => undefined,
      );
    }, 50);
    const outcome = await flooded.outcome();
    clearInterval(measuring);
    expect(outcome).toMatchObject({ code: 10 });
    expect(peakMib).toBeGreaterThan(10);
    expect(peakMib).toBeLessThan(MAX_PEAK_MIB);
  });

  it("changes that come faster than they are read wait in the guest, not in memory", async () => {
    await scriptedGuest(socket, {
      answer: (_, { session, socket: channel }) => {
        const changes = [{ ...ENTRY, value: "v".repeat(30_000), setBy: "host" as const }];
        const changed = session.notify("changed", {
          watch: 1,
          epoch: EPOCH,
          revision: 1,
          more: true,
          resync: false,
          changes,
        });
        setImmediate(() => {
          flood(channel, () => changed);
        });
        return { watch: 1, epoch: EPOCH, revision: 1, resync: false };
      },
    });
    const watching = startVmmessage(["--socket", socket, "watch"], SMALL_HEAP);
    watching.child.stdout?.pause();
    let peakMib = 0;
    for (let round = 0; round < 20; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      peakMib = await watching.peakMemoryMib();
    }
    await watching.kill("SIGTERM");
    expect(peakMib).toBeLessThan(MAX_PEAK_MIB);
  });
});
