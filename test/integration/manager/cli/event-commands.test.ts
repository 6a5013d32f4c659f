/** The commands about events, through a real server of the API. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { ImageSave } from "../../../../shared/api/event-schemas.ts";
import { eventTypes } from "../../../../shared/event-types.ts";
import { type Running, startVmmessage, until, vmmessage } from "../../host-cli/programs.ts";
import { ApiUnderTest } from "../api/http.ts";
import { cursorAt, eventAt, imageSave, mainSink, notify, subscription, webhookSink } from "../api/scripted-events.ts";

let api: ApiUnderTest;

beforeEach(async () => {
  api = await ApiUnderTest.start();
  onTestFinished(() => api[Symbol.asyncDispose]());
});

function environment() {
  return { VMMESSAGE_MANAGER: api.socketPath };
}

/** `vmmessage WORDS`, cut at the spaces. */
function run(words: string, stdin = "") {
  return vmmessage(words.split(" "), { env: environment(), stdin });
}

function start(words: string): Running {
  return startVmmessage(words.split(" "), { env: environment() });
}

function json(text: string): unknown {
  return JSON.parse(text);
}

/** What the service was asked with, without who asked. */
function asked(method: string): unknown[][] {
  return api.service.asked.filter((one) => one.method === method).map((one) => one.arguments);
}

async function file(name: string, content: string): Promise<string> {
  const path = join(api.directory, name);
  await writeFile(path, content);
  return path;
}

const HEAD = "2026-11-20 23:51:34.030+0000: event";

describe("events", () => {
  it("are the newest, the oldest of them first, and where to go on is said beside them", async () => {
    api.service.events.append({}, { type: "VM.RUNNING", oldState: "Paused", newState: "Running" }, { isResync: true });
    expect(await run("events --limit 2")).toMatchObject({
      code: 0,
      stdout:
        `${HEAD} 'VM.RUNNING' for domain 'web': Paused -> Running\n` +
        `${HEAD} 'VM.PAUSED' for domain 'web': Running -> Paused (found later)\n`,
      stderr: `vmmessage: next: --since ${cursorAt(3)}\n`,
    });
    expect(await run("events --quiet")).toMatchObject({ code: 0, stderr: "" });
    expect(asked("events.list").map(([, limit]) => limit)).toEqual([2, 50]);
  });

  it("with --json are one object a line, and nothing else", async () => {
    api.service.events.append({}, { data: { deep: { er: [1] } } });
    const { stdout, stderr } = await run("events --json");
    expect(stdout.trimEnd().split("\n").map(json)).toEqual([eventAt(1), eventAt(2, { data: { deep: { er: [1] } } })]);
    expect(stderr).toBe(`vmmessage: next: --since ${cursorAt(2)}\n`);
  });

  it("--since is all that came after, in as many pages as it takes", async () => {
    api.service.events.append(...Array.from({ length: 2_500 }, () => ({})));
    const { stdout, stderr } = await run(`events --since ${cursorAt(100)}`);
    expect(stdout.split("\n")).toHaveLength(2_401);
    expect(stderr).toBe(`vmmessage: next: --since ${cursorAt(2_500)}\n`);
    expect(asked("events.list")).toHaveLength(10);
    const some = await run(`events --since ${cursorAt(100)} --limit 5 --quiet`);
    expect(some.stdout.split("\n")).toHaveLength(6);
  });

  it("that nobody reads to their end end without a word", async () => {
    api.service.events.append(...Array.from({ length: 5_000 }, () => ({ data: { pad: "x".repeat(500) } })));
    const listing = start(`events --since ${cursorAt(0)} --json`);
    listing.child.stdout?.once("data", () => listing.child.stdout?.destroy());
    expect(await listing.outcome()).toMatchObject({ code: 0, stderr: "" });
  });

  it("are filtered by what was given", async () => {
    await run("events -v web* -v web --type VM.* --category AlertEvent --prefix a. --values");
    const filter = { vms: ["web*", "web"], types: ["VM.*"], categories: ["AlertEvent"], keys: ["a."] };
    expect(asked("events.list")).toEqual([[{ filter, since: undefined, values: true }, 50]]);
  });

  it("of a VM that does not exist are refused; a pattern and a UUID may be of those that come or are gone", async () => {
    const outcome = await run("events -v nope");
    expect(outcome).toMatchObject({ code: 2, stdout: "" });
    expect(outcome.stderr).toContain("'nope'");
    expect(asked("events.list")).toEqual([]);
    expect((await run("events -v nope* -v 00000000-0000-4000-8000-000000000000")).code).toBe(0);
  });

  it("are as many of the newest as were asked for", async () => {
    api.service.events.append(...Array.from({ length: 1_500 }, () => ({})));
    const { stdout } = await run("events --limit 1000 --json");
    const cursors = stdout
      .trimEnd()
      .split("\n")
      .map((line) => (json(line) as { cursor: string }).cursor);
    expect(cursors).toHaveLength(1_000);
    expect(cursors.at(-1)).toBe(cursorAt(1_500));
  });

  it("that are no longer kept are told", async () => {
    api.service.events.append({}, {}, {});
    api.service.events.first = 3;
    const { code, stdout, stderr } = await run(`events --since ${cursorAt(1)}`);
    expect({ code, lines: stdout.split("\n").length }).toEqual({ code: 0, lines: 2 });
    expect(stderr).toContain(`events after ${cursorAt(1)} are missing: they are no longer kept\n`);
  });

  it("of a guest that does what it can stay on their line", async () => {
    const data = { "\u001b[2J": "\u202e\n2026: event 'VM.CRASHED'", ["__proto__x"]: "\u0007" };
    api.service.events.append({
      type: "GUEST.X",
      resourceName: "web\u001b[31m\n",
      oldState: undefined,
      newState: undefined,
      data,
    });
    const { stdout } = await run("events --quiet");
    expect(stdout).toBe(
      `${HEAD} 'GUEST.X' for domain 'web\\u001b[31m\\u000a': "\\u001b[2J"="\\u202e\\n2026: event 'VM.CRASHED'" __proto__x="\\u0007"\n`,
    );
    const asJson = (await run("events --json")).stdout;
    expect(asJson).not.toMatch(/[\u001b\u0007\u202e]/);
    expect(json(asJson)).toMatchObject({ resourceName: "web\u001b[31m\n", data });
  });

  it("of another log are refused", async () => {
    expect(await run(`events --since ${"f".repeat(16)}:1`)).toMatchObject({
      code: 5,
      stdout: "",
      stderr: "vmmessage: the cursor is of another log of events; begin without --since\n",
    });
  });

  it("have types that are told without a manager", async () => {
    await api.server.close();
    const { code, stdout } = await run("events --types");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^TYPE +CATEGORY +MEANING\n/);
    expect(stdout).toMatch(/^VM\.STOPPED +ResourceStateEvent +it has ended as somebody wished$/m);
    const { types } = json((await run("events --types --json")).stdout) as { types: { type: string }[] };
    expect(types.map(({ type }) => type)).toEqual(Object.keys(eventTypes));
  });
});

describe("events --follow", () => {
  it("prints the newest, then each as it happens, till a signal", async () => {
    api.service.events.append({ type: "VM.START" });
    const following = start("events --follow --type VM.*");
    await until(() => api.service.events.signals.length === 1);
    api.service.events.append({ type: "VM.PAUSE" });
    await until(() => following.stdout.includes("VM.PAUSE"));
    await following.kill("SIGINT");
    const { code, stdout, stderr } = await following.outcome();
    expect(stdout.match(/'VM\.\w+'/g)).toEqual(["'VM.START'", "'VM.PAUSE'"]);
    expect({ code, stderr }).toEqual({ code: 130, stderr: "vmmessage: following events, till Ctrl-C\n" });
    expect(asked("events.follow")[0]).toMatchObject([{ filter: { types: ["VM.*"] }, since: cursorAt(1) }]);
  });

  it("goes on where it was when the manager was restarted, and loses and repeats nothing", async () => {
    api.service.events.append({}, {});
    const following = start(`events --json -f --since ${cursorAt(0)}`);
    await until(() => api.service.events.signals.length === 1);
    api.service.events.append({});
    await until(() => following.stdout.split("\n").length === 4);
    await api.restart(async () => {
      await until(() => following.stderr.includes("the connection to the manager was lost; trying again"));
      api.service.events.append({}, {});
    });
    await until(() => following.stdout.split("\n").length === 6);
    expect(following.stdout.trimEnd().split("\n").map(json)).toMatchObject(
      [1, 2, 3, 4, 5].map((sequence) => ({ sequence })),
    );
    expect(following.stderr).toContain("the manager is back");
  });

  it("tells what was missed meanwhile", async () => {
    const following = start("events -f --quiet");
    await until(() => api.service.events.signals.length === 1);
    await api.restart(() => {
      api.service.events.append({}, {}, { type: "VM.RUNNING" });
      api.service.events.first = 3;
    });
    await until(() => following.stdout.includes("VM.RUNNING"));
    expect(following.stderr).toContain(`events after ${cursorAt(0)} are missing: they are no longer kept`);
  });

  it("ends when the log is another after the restart", async () => {
    const following = start("events -f --json");
    await until(() => api.service.events.signals.length === 1);
    const follow = api.service.events.follow.bind(api.service.events);
    await api.restart(() => {
      api.service.events.follow = (who, query, signal) =>
        follow(who, { ...query, since: `${"f".repeat(16)}:1` }, signal);
    });
    const { code, stdout } = await following.outcome();
    expect({ code, answer: json(stdout) }).toMatchObject({ code: 5, answer: { error: { code: "conflict" } } });
  });

  it("ends without a word when nobody reads any more", async () => {
    const following = start("events -f --quiet");
    await until(() => api.service.events.signals.length === 1);
    following.child.stdout?.destroy();
    const beat = setInterval(() => {
      api.service.events.append({});
    }, 20);
    onTestFinished(() => {
      clearInterval(beat);
    });
    expect(await following.outcome()).toMatchObject({ code: 0, stderr: "" });
  });

  it("needs a manager at the start", async () => {
    await api.server.close();
    expect(await run("events -f")).toMatchObject({ code: 3, stdout: "" });
  });
});

describe("notify", () => {
  const COORDINATES = "broker.example,/,stratus,hunter2,states";

  it("add tells a queue, and shows its password nowhere", async () => {
    const path = await file("queues", `# the scheduler's\n\n${COORDINATES}\n`);
    const added = await run(`notify add -v web --notify-file ${path} --vm-id 22`);
    expect(added).toMatchObject({
      code: 0,
      stdout: "Notification n1 made: 'states' on broker.example (vhost /) is told of the states of '22'.\n",
      stderr: "",
    });
    expect(asked("subscriptions.addNotify")).toEqual([["web", { coordinates: COORDINATES, vmId: "22" }]]);
  });

  it("add reads the standard input, and warns of passwords on the command line", async () => {
    expect(await run("notify add -v web --notify-file - --quiet", COORDINATES)).toMatchObject({
      code: 0,
      stdout: "n1\n",
    });
    const { stderr, stdout } = await run(`notify add -v web --notify ${COORDINATES} --json`);
    expect(stderr).toBe(
      "vmmessage: others on this machine can see a password on a command line; better is --notify-file\n",
    );
    expect(json(stdout)).toEqual({ notify: [notify] });
    expect(stdout).not.toContain("hunter2");
    expect(asked("subscriptions.addNotify")).toHaveLength(2);
  });

  it("add tells which were made before one that failed", async () => {
    api.service.subscriptions.room = 1;
    const { code, stdout } = await run("notify add -v web --notify-file - --json", "a,b,c,d,e\nf,g,h,i,j\n");
    expect(code).toBe(4);
    expect(json(stdout)).toMatchObject({ error: { code: "over-limit", made: ["n1"] } });
  });

  it("add without a queue in the file adds nothing", async () => {
    const outcome = await run("notify add -v web --notify-file -", "\n");
    expect(outcome).toMatchObject({ code: 3, stderr: "vmmessage: --notify-file: - names none, one a line\n" });
    expect((await run(`notify add -v web --notify-file ${api.directory}/none`)).code).toBe(3);
    expect(asked("subscriptions.addNotify")).toEqual([]);
  });

  it("list is a table", async () => {
    expect((await run("notify list -v web")).stdout).toBe(
      "ID  VM ID  HOST                 VHOST  USER     QUEUE   BY     STATE\n" +
        "n1  22     broker.example:5672  /      stratus  states  alice  idle\n",
    );
    expect((await run("notify list -v web --quiet")).stdout).toBe("n1\n");
  });

  it("remove removes", async () => {
    expect((await run("notify remove -v web n1")).stdout).toBe("Notification n1 of 'web' removed.\n");
    expect(json((await run("notify remove -v web n1 --json")).stdout)).toEqual({ id: "n1", removed: true });
    expect(asked("subscriptions.removeNotify")[0]).toEqual(["web", "n1"]);
  });
});

describe("subscription", () => {
  it("add subscribes endpoints to events", async () => {
    const words = "-v web* --type VM.* --prefix a. --values --format cloudstack --contact mailto:ops@example.com";
    const added = await run(`subscription add dns --endpoint https://hooks.example/vm ${words}`);
    expect(added).toMatchObject({
      code: 0,
      stdout: "Subscription s1 ('dns') made: VM.* of web*, keys a.* to https://hooks.example/vm.\n",
      stderr: "",
    });
    expect(asked("subscriptions.create")).toEqual([
      [
        {
          name: "dns",
          endpoints: ["https://hooks.example/vm"],
          filter: { vms: ["web*"], types: ["VM.*"], keys: ["a."] },
          values: true,
          format: "cloudstack",
          contact: "mailto:ops@example.com",
        },
      ],
    ]);
  });

  it("--new-secret makes a secret, shows it once, and signs with it before those of files", async () => {
    const old = `whsec_${Buffer.alloc(32, 1).toString("base64")}`;
    const path = await file("secret", `${old}\n`);
    const { stdout } = await run(`subscription add dns --endpoint https://x --new-secret --secret-file ${path}`);
    const [, told, made = ""] = stdout.split("\n");
    expect(told).toBe("Its secret is shown this once:");
    expect(Buffer.from(/^whsec_(.*)$/.exec(made)?.[1] ?? "", "base64")).toHaveLength(32);
    expect(stdout).not.toContain(old);
    expect(asked("subscriptions.create")).toMatchObject([[{ secrets: [made, old] }]]);
    const again = await run("subscription change s1 --new-secret --quiet");
    expect(again.stdout).toMatch(/^whsec_\S{44}\n$/);
    expect(again.stdout).not.toContain(made);
    expect(asked("subscriptions.change")).toEqual([["s1", { secrets: [again.stdout.trim()] }]]);
  });

  it("a file without a secret is refused, and not shown", async () => {
    const path = await file("secret", "hunter2\n");
    const outcome = await run(`subscription add dns --endpoint https://x --secret-file ${path}`);
    expect(outcome).toMatchObject({ code: 3, stdout: "" });
    expect(outcome.stderr).not.toContain("hunter2");
    expect(api.service.asked).toEqual([]);
  });

  it("warns of a password in an endpoint on the command line, and reads them from a file", async () => {
    const url = "amqps://me:hunter2@broker.example/v?exchange=e";
    expect((await run(`subscription add bus --endpoint ${url}`)).stderr).toContain("better is --endpoint-file");
    const quiet = await vmmessage(["subscription", "add", "bus", "--endpoint-file", "-"], {
      env: environment(),
      stdin: url,
    });
    expect(quiet).toMatchObject({ code: 0, stderr: "" });
    expect(asked("subscriptions.create")).toMatchObject([[{ endpoints: [url] }], [{ endpoints: [url] }]]);
  });

  it("change changes what is given, and of the filter the parts that are given", async () => {
    expect((await run("subscription change s1 --type KEY.*")).stdout).toBe(
      "Subscription s1 ('dns') changed: KEY.* of web* to https://hooks.example/vm.\n",
    );
    await run("subscription change s1 --name dns2 --no-contact --no-values --unsigned --endpoint https://y");
    await run("subscription change s1 --everything --category AlertEvent");
    expect(asked("subscriptions.change")).toEqual([
      ["s1", { filter: { types: ["KEY.*"], vms: ["web*"] } }],
      ["s1", { name: "dns2", contact: null, values: false, secrets: [], endpoints: ["https://y"] }],
      ["s1", { filter: { categories: ["AlertEvent"] } }],
    ]);
  });

  it("list and show tell of them, and remove removes", async () => {
    expect((await run("subscription list")).stdout).toBe(
      "ID  NAME  OWNER  EVENTS        ENDPOINTS\n" + "s1  dns   alice  VM.* of web*  https://hooks.example/vm\n",
    );
    expect((await run("subscription show s1")).stdout).toMatch(
      /^subscription {2}s1\nname {10}dns\nowner {9}alice\nmade .*\nevents {8}VM\.\* of web\*\nvalues {8}no\nformat {8}cloudevents\nsecrets {7}1\ncontact {7}mailto:ops@example\.com\ns1\.1 {10}https:\/\/hooks\.example\/vm \(idle\)\n$/,
    );
    expect((await run("subscription show s1 --quiet")).stdout).toBe("s1.1\n");
    expect(json((await run("subscription list --json")).stdout)).toEqual({ subscriptions: [subscription] });
    expect((await run("subscription remove s1")).stdout).toBe("Subscription s1 removed.\n");
  });

  it.each(["show", "remove", "change --type VM.*"])("%s of what is not there fails", async (words) => {
    expect(await run(`subscription ${words} nope`)).toMatchObject({
      code: 2,
      stdout: "",
      stderr: "vmmessage: there is no subscription 'nope'\n",
    });
  });

  it("what the manager does not take is wrong usage", async () => {
    const outcome = await run("subscription add dns --endpoint https://x --contact ops@example.com");
    expect(outcome).toMatchObject({ code: 3 });
    expect(outcome.stderr).toContain("must be mailto:ADDRESS");
  });
});

describe("sinks", () => {
  it("is a table of where events go, and how far each is", async () => {
    expect((await run("sinks")).stdout.split("\n")).toEqual([
      "SINK         TYPE     STATE                                              BACKLOG  RETRYING  DEAD LETTERS  TARGET",
      `config:main  amqp     disconnected: connect ECONNREFUSED 192.0.2.1:5672  12       1         2             ${mainSink.target}`,
      "s1.1         webhook  idle                                               0        0         0             https://hooks.example/vm",
      "",
    ]);
    expect((await run("sinks --quiet")).stdout).toBe("config:main\ns1.1\n");
    expect(json((await run("sinks --json")).stdout)).toEqual({ sinks: [mainSink, webhookSink] });
  });

  it("show tells all of one", async () => {
    expect((await run("sink show config:main")).stdout.split("\n")).toEqual([
      "sink          config:main",
      "type          amqp",
      `target        ${mainSink.target}`,
      "state         disconnected: connect ECONNREFUSED 192.0.2.1:5672",
      "backlog       12 events behind",
      "retrying      1",
      "dead letters  2",
      "failures      3",
      "delivered     never",
      "",
    ]);
    expect((await run("sink show config:main --quiet")).stdout).toBe("disconnected\n");
  });

  it("test delivers now, and fails when it does not arrive", async () => {
    expect((await run("sink test s1.1")).stdout).toBe("Test event delivered to s1.1 in 13 ms.\n");
    api.service.sinks.tested = { ...api.service.sinks.tested, outcome: "failed", status: 500, error: "500 \u001b[2J" };
    expect(await run("sink test s1.1")).toMatchObject({
      code: 2,
      stdout: "",
      stderr: "vmmessage: the test event did not reach s1.1: 500 \\u001b[2J\n",
    });
    expect(json((await run("sink test s1.1 --json")).stdout)).toMatchObject({ error: { code: "failed", status: 500 } });
  });

  it("deliveries and dead letters are tables", async () => {
    const { id } = eventAt(1);
    expect((await run("sink deliveries s1.1 --limit 5")).stdout.split("\n")[1]).toBe(
      `2026-11-20T23:51:34.030Z  ${id}  SINK.TEST  1        delivered  204     13`,
    );
    expect(asked("sinks.deliveries")).toEqual([["s1.1", 5]]);
    expect((await run("sink dead-letters config:main")).stdout.split("\n")[1]).toBe(
      `2026-11-20T23:51:34.030Z  ${id}  VM.PAUSED  web  9         404 NOT_FOUND`,
    );
    expect((await run("sink dead-letters config:main --quiet")).stdout).toBe(`${id}\n`);
  });

  it("redeliver takes events, or all dead letters", async () => {
    expect((await run("sink redeliver config:main")).stdout).toBe(
      "2 events are to be delivered to config:main again.\n",
    );
    expect((await run("sink redeliver config:main a")).stdout).toBe(
      "1 event is to be delivered to config:main again.\n",
    );
    expect((await run("sink redeliver config:main a b --quiet")).stdout).toBe("2\n");
    expect(asked("sinks.redeliver")).toEqual([
      ["config:main", undefined],
      ["config:main", ["a"]],
      ["config:main", ["a", "b"]],
    ]);
  });

  it("enable enables", async () => {
    api.service.sinks.list = () => [{ ...webhookSink, state: "disabled", reason: "it failed 50 times" }];
    expect((await run("sink enable s1.1")).stdout).toBe("Sink s1.1 enabled: idle.\n");
  });

  it("enable of one that was not disabled says so", async () => {
    expect(await run("sink enable s1.1")).toMatchObject({ code: 0, stdout: "Sink s1.1 was not disabled: idle.\n" });
  });

  it.each(["show", "test", "enable", "deliveries", "dead-letters", "redeliver"])("%s of none fails", async (word) => {
    expect(await run(`sink ${word} nope`)).toMatchObject({
      code: 2,
      stdout: "",
      stderr: "vmmessage: there is no sink 'nope'; 'vmmessage sinks' lists them\n",
    });
  });

  it("health tells of them", async () => {
    const { stdout } = await run("health");
    expect(stdout).toContain(
      "config:main       disconnected: connect ECONNREFUSED 192.0.2.1:5672; 12 events behind, 2 dead letters\n" +
        "subscribed sinks  3 idle, 1 disabled\n",
    );
  });
});

describe("save", () => {
  const image = { path: "/srv/images/web.qcow2", format: "qcow2" as const, size: 1_048_576, sha256: "ab".repeat(32) };
  const done: Partial<ImageSave> = { state: "done", image };
  const PROMISE =
    "Saving i1: when 'web' has shut down, its disk is saved as qcow2 in /srv/images; alice@example.com gets a mail.\n";

  it("answers at once with what will happen", async () => {
    const words = "save -v web --to /srv/images --author-email alice@example.com";
    expect(await run(words)).toMatchObject({ code: 0, stdout: PROMISE, stderr: "" });
    expect((await run(`${words} --quiet`)).stdout).toBe("i1\n");
    expect(json((await run(`${words} --disk vdb --format raw --json`)).stdout)).toMatchObject({ state: "waiting" });
    expect(asked("images.save").at(-1)).toEqual([
      "web",
      { directory: "/srv/images", format: "raw", authorEmail: "alice@example.com", disk: "vdb" },
    ]);
  });

  it("--wait ends with what became of it", async () => {
    api.service.images.changes = [{ state: "saving", progress: 50 }, done];
    const words = "save -v web --to /srv/images --wait";
    expect(await run(words)).toMatchObject({
      code: 0,
      stdout:
        "Saving i1: when 'web' has shut down, its disk is saved as qcow2 in /srv/images.\n" +
        `Saved: /srv/images/web.qcow2, qcow2, 1048576 bytes, SHA-256 ${image.sha256}\n`,
      stderr: "",
    });
    expect((await run(`${words} --quiet`)).stdout).toBe("/srv/images/web.qcow2\n");
    expect(json((await run(`${words} --json`)).stdout)).toEqual({ ...imageSave, ...done });
  });

  it.each<[Partial<ImageSave>, string]>([
    [{ state: "failed", error: "no space \u001b[2J" }, "the saving i1 failed: no space \\u001b[2J"],
    [{ state: "cancelled" }, "the saving i1 was cancelled"],
  ])("--wait fails when %o", async (end, sentence) => {
    api.service.images.changes = [end];
    const outcome = await run("save -v web --to /srv/images --wait --quiet");
    expect(outcome).toMatchObject({
      code: 2,
      stdout: "",
      stderr: `vmmessage: the image of 'web' was not saved, ${sentence}\n`,
    });
  });

  it("--wait goes on through the manager's restart, and is bounded by --timeout", async () => {
    const waiting = start("save -v web --to /srv/images --wait --quiet");
    await until(() => asked("images.follow").length > 0);
    await until(() => waiting.stderr.includes("the connection to the manager was lost"));
    api.service.images.changes = [done];
    expect(await waiting.outcome()).toMatchObject({ code: 0, stdout: "/srv/images/web.qcow2\n" });
    api.service.images.changes = [];
    const bounded = await run("save -v web --to /srv/images --wait --timeout 1500ms");
    expect(bounded).toMatchObject({ code: 11 });
    expect(bounded.stderr).toContain("the saving i1 of 'web' goes on: see vmmessage save show i1");
  });

  it("--wait shows a bar on a terminal, and none elsewhere", async () => {
    api.service.images.changes = [{ state: "saving", progress: 42.7 }, done];
    const words = [process.execPath, "dist/vmmessage.js", "save", "-v", "web", "--to", "/srv/images", "--wait"];
    // script(1) gives the program a terminal.
    const terminal = spawn("script", ["-qec", words.join(" "), "/dev/null"], {
      env: { ...process.env, ...environment(), TERM: "xterm" },
    });
    onTestFinished(() => void terminal.kill("SIGKILL"));
    let shown = "";
    terminal.stdout.on("data", (piece: Buffer) => (shown += piece.toString()));
    await once(terminal, "close");
    expect(shown).toContain("42 %");
    expect(shown).toContain("Saved: /srv/images/web.qcow2");
  });

  it("to where it may not is not permitted", async () => {
    expect(await run("save -v web --to /etc")).toMatchObject({
      code: 6,
      stderr: "vmmessage: images may not be saved in /etc\n",
    });
  });

  it("list, show and cancel", async () => {
    expect((await run("save list -v web")).stdout).toMatch(
      /^ID {2}VM {3}STATE {4}BEGUN +BY {5}IMAGE\ni1 {2}web {2}waiting {2}.* ago +alice {2}\/srv\/images\n$/,
    );
    expect(asked("images.list")).toEqual([["web"]]);
    expect((await run("save show i1")).stdout).toMatch(/^saving {5}i1\nvm {9}web\nstate {6}waiting\n/);
    expect((await run("save cancel i1")).stdout).toBe("Saving i1 of 'web' cancelled.\n");
    expect(json((await run("save cancel i1 --json")).stdout)).toMatchObject({ id: "i1", state: "cancelled" });
    expect(await run("save show nope")).toMatchObject({
      code: 2,
      stderr: "vmmessage: nothing is saved under 'nope'\n",
    });
  });
});
