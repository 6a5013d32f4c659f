/** Every transcript and example in the README and the guides is played, and must read as it is printed there. */
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { builtinModules } from "../../agent/bootstrap/builtin/index.ts";
import { parseWantedUsers } from "../../agent/bootstrap/builtin/wanted-users.ts";
import { parseBootstrapConfig } from "../../agent/bootstrap/config.ts";
import { MAX_ATTEMPTS, RUN_LIMIT_MS } from "../../agent/bootstrap/one-run.ts";
import { DEFAULT_MODULE_TIMEOUT_MS } from "../../agent/bootstrap/module.ts";
import { loadTemplate } from "../../agent/bootstrap/templates/load-template.ts";
import { type TemplateFile, TemplateText } from "../../agent/bootstrap/templates/template-file.ts";
import { readConfig as readAgentConfig } from "../../agent/config.ts";
import { defaultApiLimits } from "../../manager/api/limits.ts";
import { refusalOf } from "../../manager/api/problems.ts";
import { parseConfig } from "../../manager/config.ts";
import { libvirtMeanings, type Meaning, qmpMeanings } from "../../manager/events/lifecycle-table.ts";
import { MAX_LANE, MAX_PARKED } from "../../manager/events/outbox/feed.ts";
import { parseStaticFile } from "../../manager/inventory/static-file.ts";
import { masakariEvents } from "../../manager/sinks/endpoint.ts";
import { MAX_EVENT_BYTES } from "../../manager/sinks/event-json.ts";
import { MAX_MAILS_PER_HOUR, MAX_RUNS_PER_SECOND, MAX_TEXTS_PER_HOUR } from "../../manager/sinks/rate-limits.ts";
import { DEFAULT_STORE_LIMITS } from "../../manager/store/limits.ts";
import packageJson from "../../package.json" with { type: "json" };
import { endpoints, MAX_BODY_BYTES } from "../../shared/api/endpoints.ts";
import {
  bootstrapMessages,
  MAX_LINE_LENGTH,
  MAX_MODULES,
  MAX_REPORTED_LINES,
  MAX_RESULTS_LENGTH,
  targets,
} from "../../shared/bootstrap.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { eventTypes } from "../../shared/event-types.ts";
import { monitorEvents, monitorStates, type MonitorStep, monitorTable } from "../../shared/monitor-table.ts";
import { MAX_APPLICATION_REASON, MAX_APPLICATIONS } from "../../shared/protocol/limits.ts";
import { type ErrorCode, exitCodeMeanings, exitCodes } from "../../shared/protocol/errors.ts";
import { DocsLab, documentedUuids, type Prompt, prompts } from "./docs-lab.ts";

const root = join(import.meta.dirname, "..", "..");

/** In some of them a manager runs from the start; in others a transcript starts it. */
const documents = [
  { document: "README.md", hasManager: false },
  { document: "docs/agent.md", hasManager: false },
  { document: "docs/vmmessage.md", hasManager: false },
  { document: "docs/manager.md", hasManager: false },
  { document: "docs/api.md", hasManager: true },
  { document: "docs/events.md", hasManager: false, hasServers: true },
  { document: "docs/monitor.md", hasManager: false },
  { document: "docs/bootstrap.md", hasManager: false },
];

interface Block {
  language: string;
  /** Of ```json title=FILE: the file it is. */
  title: string | undefined;
  text: string;
}

interface Step {
  prompt: Prompt;
  command: string;
  shown: string;
}

function textOf(document: string): string {
  return readFileSync(join(root, document), "utf8");
}

function blocksOf(document: string): Block[] {
  return [...textOf(document).matchAll(/^```(\w+)(?: title=(\S+))?\n([^]*?)^```$/gm)].map(
    ([, language = "", title, text = ""]) => ({ language, title, text }),
  );
}

/** A command goes on in the next line after a backslash, as in a shell. */
function stepsOf({ text }: Block): Step[] {
  const step = /^(host# |guest# |db1# |desk\$ )((?:.*\\\n)*.*)\n((?:(?!(?:host|guest|db1)# |desk\$ ).*\n)*)/gm;
  return [...text.matchAll(step)].map(([, prompt, command = "", shown = ""]) => {
    return { prompt: prompt as Prompt, command, shown };
  });
}

/** What is different in each run: ids, tokens, secrets, cursors, epochs and fingerprints. */
const MARKS =
  /whsec_[A-Za-z0-9+/]{43}=|\b[0-9a-f]{16}:\d+\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|vmm_[0-9a-f]{16}_[A-Za-z0-9_-]{43}|(?:[0-9A-F]{2}:){31}[0-9A-F]{2}|\b(?:[0-9a-f]{32}){1,2}\b|\b[0-9a-f]{16}\b(?!-)/g;

/**
 * Without what is different in each run: marks, ages, times of day, durations measured, process ids, and the widths of
 * columns. What has no newline at its end is shown with one, and JSON may be shown on several lines.
 */
function comparable(output: string): string {
  return (
    onOneLine(output.trimEnd())
      .replace(MARKS, (mark) => (documentedUuids.has(mark) ? mark : "MARK"))
      .replace(/\b\d+ (?:second|minute|hour|day)s? ago\b/g, "N ago")
      .replace(/\bfor \d+ (?:second|minute)s?\b/g, "for N")
      .replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "TIME")
      .replace(/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+(?:[+-]\d+)?/g, "TIME")
      .replace(/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{3})? ?[+]0000/g, "TIME")
      .replace(/\b\d{8}T\d{6}Z/g, "TIME")
      .replace(/\b\d+(?:\.\d+)? ms\b/g, "N ms")
      .replace(/\b(delivered|failed|dead)( +\d{3})? +\d+ *$/gm, "$1$2  N")
      .replace(/"(ageMs|uptimeMs|roundTripMs|sequence|durationMs)": ?[\d.]+/g, '"$1":N')
      .replace(/\bdurationMs=\d+/g, "durationMs=N")
      .replace(/\b\d+\.\d s\b/g, "N s")
      // A machine need not have anything that tells it from others.
      .replace(/("instance":|\binstance=)(?:"[^"]*"|[\w-]+)/g, "$1N")
      .replace(/\b\d+(?= of this resource$)/gm, "N")
      .replace(/^(Took: +)\d+ seconds?$/gm, "$1N")
      .replace(/\(pid \d+\)/g, "(pid N)")
      .replace(/ +$/gm, "")
      .replace(/(?<=\S) {2,}/g, "  ")
  );
}

function onOneLine(output: string): string {
  try {
    return JSON.stringify(JSON.parse(output));
  } catch {
    return output;
  }
}

/** What the monitor finds out takes some rounds of pings: it is looked at until it is as the document shows it. */
const LOOKS_AT_HEALTH =
  /^(?:vmmessage (?:monitor(?! --table)|check|events -v \w+ --type '?(?:VM|BOOTSTRAP)\.)|curl .* grep '\^vmmessage_guest_)/;
const PATIENCE_MS = 40_000;

/** Plays a document from its beginning to its end, and checks each step. */
class Reading {
  readonly #lab: DocsLab;
  /** The marks of this run for those of the document, by what was printed where it shows them. */
  readonly #marks = new Map<string, string>();

  constructor(lab: DocsLab) {
    this.#lab = lab;
  }

  async read(block: Block): Promise<void> {
    if (block.title !== undefined) {
      await this.#lab.place(block.title, this.#withMarks(block.text));
    }
    if (block.language !== "console") return;
    const steps = stepsOf(block);
    expect(steps.length, `a prompt (${prompts.join(", ")}) in: ${block.text}`).toBeGreaterThan(0);
    for (const step of steps) await this.#play(step);
  }

  async #play({ prompt, command, shown }: Step): Promise<void> {
    const lines = [...shown.matchAll(/^OVM> (.*)$/gm)].map(([, line = ""]) => line);
    const expected = shown.replace(/^OVM> .*\n/gm, "");
    const printed = await this.#printed(prompt, command, lines, expected);
    this.#learn(expected, printed);
    expect.soft(`${command}\n${comparable(printed)}`).toBe(`${command}\n${comparable(expected)}`);
  }

  async #printed(prompt: Prompt, command: string, lines: readonly string[], expected: string): Promise<string> {
    const typed = this.#withMarks(command);
    if (lines.length > 0) return this.#lab.typeAtConsole(typed, lines);
    const deadline = performance.now() + (LOOKS_AT_HEALTH.test(command) ? PATIENCE_MS : 0);
    for (;;) {
      const printed = await this.#lab.type(prompt, typed);
      if (comparable(printed) === comparable(expected) || performance.now() >= deadline) return printed;
    }
  }

  #learn(shown: string, printed: string): void {
    const real = printed.match(MARKS) ?? [];
    for (const [index, mark] of (shown.match(MARKS) ?? []).entries()) {
      const own = real[index];
      if (own !== undefined) this.#marks.set(mark, own);
    }
  }

  #withMarks(text: string): string {
    return text.replace(MARKS, (mark) => this.#marks.get(mark) ?? mark);
  }
}

describe.each(documents)("$document", ({ document, ...needs }) => {
  test("shows what the commands in it really print", { timeout: 240_000 }, async () => {
    await using lab = await DocsLab.open(needs);
    const reading = new Reading(lab);
    const blocks = blocksOf(document);
    expect(blocks.filter(({ language }) => language === "console").length).toBeGreaterThan(1);
    for (const block of blocks) await reading.read(block);
  });

  test("names scripts of npm that exist", () => {
    const named = [...textOf(document).matchAll(/npm run ([\w:]+)/g)].map(([, script = ""]) => script);
    expect(named.filter((script) => !Object.hasOwn(packageJson.scripts, script))).toEqual([]);
  });

  test("leads to files that are there", () => {
    const links = [...textOf(document).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, path = ""]) => path);
    expect(links.filter((path) => !isThere(join(root, document, "..", path)))).toEqual([]);
  });
});

function isThere(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOTDIR";
  }
}

/** The rows of the table below this heading, each with its cells; code without its backticks. */
function tableOf(document: string, heading: string): string[][] {
  const [, section = ""] = textOf(document).split(new RegExp(`^#+ ${heading}$`, "m"));
  const lines = section.split(/^#+ /m)[0]?.match(/^\|.*\|$/gm) ?? [];
  return lines.slice(2).map((line) => {
    const cells = line.slice(1, -1).split(/(?<!\\)\|/);
    return cells.map((cell) =>
      cell
        .trim()
        .replace(/^`([^`]*)`$/, "$1")
        .replaceAll("\\|", "|"),
    );
  });
}

test("the configuration in docs/agent.md is one", async () => {
  const directory = await mkdtemp(join(tmpdir(), "vmm-docs-"));
  const example = blocksOf("docs/agent.md").find(({ language }) => language === "json")?.text ?? "";
  const file = join(directory, "example.json");
  await writeFile(file, example);
  expect(readAgentConfig(file).sockets[0]?.prefixes).toEqual(["com.example."]);
  await rm(directory, { recursive: true });
});

describe("the configuration in docs/manager.md", () => {
  const examples = blocksOf("docs/manager.md").filter(({ language, title }) => {
    return language === "json" && (title === undefined || title.endsWith("manager.json"));
  });
  const rows = tableOf("docs/manager.md", "All members");

  test("is one, wherever an example is shown", () => {
    expect(examples.length).toBeGreaterThan(2);
    for (const { text } of examples) expect(() => parseConfig(JSON.parse(text), "the example")).not.toThrow();
  });

  test("has every member in its table, and no other", () => {
    const documented = rows.map(([member = ""]) => member);
    const whole = whereAllIsGiven(rows);
    expect(new Set(documented)).toEqual(new Set(membersOf(parseConfig(whole, "the table"))));
  });

  test("has the defaults that its table says", () => {
    for (const [member = "", byDefault = ""] of rows.filter(([, text]) => text !== "" && text !== "required")) {
      const without = parseConfig(whereRequiredIsGiven(rows, member), member);
      const withIt = parseConfig(withMember(whereRequiredIsGiven(rows, member), member, JSON.parse(byDefault)), member);
      expect(withIt, member).toEqual(without);
    }
  });
});

/** An example of each member that the table calls required, or gives no default. */
const exampleValues: Record<string, unknown> = {
  "sockets[].path": "/run/example.sock",
  "sockets[].owner": "root",
  "sockets[].group": "root",
  "listen[].address": "::",
  "listen[].certificate": "/etc/example.crt",
  "listen[].key": "/etc/example.key",
  "events.mail.host": "mail.example.com",
  "events.mail.user": "example",
  "events.mail.passwordFile": "/etc/example.password",
  "events.mail.ca": "/etc/example.crt",
  "events.mail.from": "example@example.com",
  "events.commands": { example: { run: ["/bin/true"] } },
  "monitor.recovery[].name": "example",
  "monitor.recovery[].vms": ["web*"],
  "monitor.recovery[].command": "example",
  "peers.url": "amqps://example@example.com",
  "peers.passwordFile": "/etc/example.password",
  "peers.ca": "/etc/example.crt",
  "peers.keyFile": "/etc/example.key",
};

/** Which members a sink has depends on its type: one of each, the first with no more than it needs. */
const exampleSinks = [
  { type: "amqp", name: "least", url: "amqps://example@example.com" },
  {
    type: "amqp",
    name: "broker",
    url: "amqps://example@example.com",
    passwordFile: "/etc/example.password",
    ca: "/etc/example.crt",
    filter: { categories: ["ActionEvent"], types: ["VM.*"], vms: ["web*"], keys: ["com.example."] },
  },
  { type: "webhook", name: "hook", url: "https://example.com", secretFiles: [], ca: "/etc/example.crt" },
  { type: "mail", name: "mail", to: ["example@example.com"] },
  { type: "command", name: "program", command: "example" },
  {
    type: "masakari",
    name: "masakari",
    url: "https://example.com/v1",
    hostname: "example",
    region: "example",
    ca: "/etc/example.crt",
    auth: {
      method: "application-credential",
      url: "https://example.com/v3",
      id: "1",
      secretFile: "/etc/example.secret",
    },
  },
  {
    type: "masakari",
    name: "by-password",
    auth: {
      method: "password",
      url: "https://example.com/v3",
      user: "example",
      passwordFile: "/etc/example.password",
      project: "example",
    },
  },
];
const SINK = "events.sinks[]";

/** Their members are names that root makes up, or types of events. */
const records: ReadonlySet<string> = new Set([
  "events.commands",
  "events.gateways",
  "events.sinks[].events",
  "images.disks",
]);

function whereAllIsGiven(rows: string[][]): object {
  const others = rows.filter(([member = ""]) => !member.startsWith(SINK));
  return others.reduce<object>(
    (config, [member = "", byDefault = ""]) => {
      const value = exampleValues[member] ?? (byDefault === "" ? undefined : (JSON.parse(byDefault) as unknown));
      return value === undefined ? config : withMember(config, member, value);
    },
    withMember({}, "events.sinks", exampleSinks),
  );
}

/** What has to be there so that `member` can be. */
function whereRequiredIsGiven(rows: string[][], member: string): object {
  const parent = parentOf(member);
  if (parent === SINK) return withMember({}, "events.sinks", exampleSinks.slice(0, 1));
  const commands = withMember({}, "events.commands", exampleValues["events.commands"]);
  const base = parent === "" || parent.endsWith("[]") ? commands : withMember(commands, parent, {});
  const isAround = (outer: string): boolean => outer === parent || (outer !== "" && parent.startsWith(`${outer}.`));
  return rows
    .filter(([other = "", text]) => text === "required" && isAround(parentOf(other)))
    .reduce<object>((config, [other = ""]) => withMember(config, other, exampleValues[other]), base);
}

function parentOf(member: string): string {
  return member.slice(0, Math.max(0, member.lastIndexOf(".")));
}

/** @param path `listen[].port`: of the first of the list */
function withMember(config: object, path: string, value: unknown): object {
  const [first = "", ...rest] = path.split(".");
  const name = first.replace("[]", "");
  const known = (config as Record<string, unknown>)[name];
  if (rest.length === 0) return value === undefined ? config : { ...config, [name]: value };
  const inner = first.endsWith("[]") ? (known as object[] | undefined)?.[0] : known;
  const changed = withMember((inner as object | undefined) ?? {}, rest.join("."), value);
  return { ...config, [name]: first.endsWith("[]") ? [changed] : changed };
}

/** The paths of all that is no object of members itself. */
function membersOf(value: object, path = ""): string[] {
  return Object.entries(value).flatMap(([name, inner]: [string, unknown]) => {
    const here = path === "" ? name : `${path}.${name}`;
    const items = Array.isArray(inner) ? (inner as unknown[]) : [];
    const objects = items.filter((item) => typeof item === "object" && item !== null);
    if (objects.length > 0) return objects.flatMap((item) => membersOf(item, `${here}[]`));
    if (records.has(here)) return [here];
    if (typeof inner === "object" && inner !== null && !Array.isArray(inner)) return membersOf(inner, here);
    return [here];
  });
}

test("the list of VMs in docs/manager.md is one", () => {
  const list = blocksOf("docs/manager.md").find(({ title }) => title?.endsWith("vms.json"))?.text ?? "";
  expect(parseStaticFile(list, "hv1")).toMatchObject({ type: "read", vms: [{ name: "web1" }] });
});

test("the fixed limits in docs/manager.md are those of the code", () => {
  const store = DEFAULT_STORE_LIMITS;
  const count = (value: number): string => value.toLocaleString("en");
  const days = (ms: number): string => `${ms / 86_400_000} days`;
  const { connections, requests, streamsPerPrincipal } = defaultApiLimits;
  const limits = Object.fromEntries(
    tableOf("docs/manager.md", "Fixed limits").map(([what = "", limit]) => [what, limit]),
  );
  expect(limits).toMatchObject({
    "messages that wait for all VMs together": `${count(store.pendingTotal)} and ${store.pendingBytesTotal / 2 ** 30} GiB`,
    "receipts of settled messages": `${count(store.receiptsPerVm)} for each VM, ${days(store.receiptAgeMs)}`,
    "messages from guests": `${count(store.receivedPerVm)} and ${store.receivedBytesPerVm / 2 ** 20} MiB for each VM`,
    "audit log": `${count(store.auditRecords)} records, ${days(store.auditAgeMs)}`,
    events: `as \`events.keep\` and \`events.keepCount\` say, and ${store.eventBytes / 2 ** 30} GiB; twice of it for a sink that is behind`,
    "events that wait for another attempt": `${count(MAX_PARKED)} of each sink, ${count(MAX_LANE)} of one VM`,
    "an event to a webhook or a program": `${MAX_EVENT_BYTES / 1024} KiB; a larger one goes without its values, and says \`truncated\``,
    "mails, text messages, commands": `${MAX_MAILS_PER_HOUR} an hour to an address, ${MAX_TEXTS_PER_HOUR} an hour to a number, ${MAX_RUNS_PER_SECOND} a second of one name`,
    "applications of a guest": `${MAX_APPLICATIONS}, and ${MAX_APPLICATION_REASON} characters of why one fails`,
    "a request's body": `${MAX_BODY_BYTES / 2 ** 20} MiB`,
    "API: one door": `${connections} connections, ${requests} requests in progress`,
    "API: watches and calls for many VMs": `${streamsPerPrincipal} at a time for each user`,
  });
});

test("docs/manager.md has every event of the log, and no other", () => {
  const documented = tableOf("docs/manager.md", "The log").map(([event]) => event);
  expect(documented.sort()).toEqual(loggedEvents());
});

/** As the manager's sources name them, and what it shares with the agent as a service of systemd's. */
function loggedEvents(): string[] {
  const own = readdirSync(join(root, "manager"), { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );
  const files = [...own.map((file) => join("manager", file)), join("shared", "systemd-service.ts")];
  const events = files.flatMap((file) => {
    const source = readFileSync(join(root, file), "utf8");
    return [...source.matchAll(/\blog(?:ger)?\.(?:info|warn|error)\(\s*"([a-z.-]+)"/g)].map(([, event = ""]) => event);
  });
  return [...new Set(events)].sort();
}

test("docs/manager.md has every metric, and no other", async () => {
  await using lab = await DocsLab.open({ hasManager: true });
  const documented = tableOf("docs/manager.md", "Metrics and health").map(([name]) => name);
  expect(documented.sort()).toEqual((await lab.metricNames()).sort());
});

describe("docs/api.md", () => {
  test("has every endpoint, and no other", () => {
    const documented = tableOf("docs/api.md", "Endpoints").map(([endpoint]) => endpoint);
    const served = Object.values(endpoints).map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`);
    expect(documented.sort()).toEqual([...served, "GET /metrics", "GET /openapi.json"].sort());
  });

  test("has the status of every code", () => {
    const documented = tableOf("docs/api.md", "Problems").map(([code, status]) => [code, Number(status)]);
    const answered = (Object.keys(exitCodes) as ErrorCode[]).map((code) => {
      return [code, refusalOf(new CommandError(code, "")).problem.status];
    });
    expect(documented).toEqual(answered);
  });
});

describe("docs/events.md", () => {
  test("has every type of event with its category and meaning, and no other", () => {
    const types = Object.entries(eventTypes).map(([type, { category, meaning }]) => [type, category, meaning]);
    expect(tableOf("docs/events.md", "Types")).toEqual(types);
  });

  test.each([
    { heading: "What libvirt says, and what it means", meanings: libvirtMeanings },
    { heading: "What QEMU says, and what it means", meanings: qmpMeanings },
  ])("has what becomes of each event: $heading", ({ heading, meanings }) => {
    const rows = tableOf("docs/events.md", heading);
    const documented = rows.map(([said, events = ""]) => [said, events.replaceAll("`", "")]);
    const ours = Object.entries<Meaning>(meanings).map(([said, meaning]) => [said, eventsOf(meaning).join(", ")]);
    expect(documented).toEqual(ours);
  });

  test("has configurations that are ones", () => {
    const examples = blocksOf("docs/events.md").filter(({ title }) => title?.endsWith("manager.json"));
    expect(examples.length).toBeGreaterThan(0);
    for (const { text } of examples) expect(() => parseConfig(JSON.parse(text), "the example")).not.toThrow();
    const list = blocksOf("docs/events.md").find(({ title }) => title?.endsWith("vms.json"))?.text ?? "";
    expect(parseStaticFile(list, "hv1")).toMatchObject({ type: "read", wishes: [{ vmId: "22" }] });
  });
});

describe("docs/monitor.md", () => {
  test("draws the table of the monitor: every step that leads elsewhere or tells something, and no other", () => {
    const drawn = [...textOf("docs/monitor.md").matchAll(/^ +(\w+) --> (\w+): (.+)$/gm)].flatMap(
      ([, from, to, inputs = ""]) => inputs.split(", ").map((input) => `${from} --> ${to}: ${input}`),
    );
    const steps = monitorStates.flatMap((from) => {
      const ofState = Object.entries<MonitorStep>(monitorTable[from]);
      const seen = ofState.filter(([, { to, tells }]) => to !== from || tells !== undefined);
      return seen.map(([input, { to }]) => `${from} --> ${to}: ${input}`);
    });
    expect(drawn.sort()).toEqual(steps.sort());
  });

  test("has every event of the monitor and of recovery, and no other", () => {
    const documented = tableOf("docs/monitor.md", "Events").map(([type]) => type);
    const ofMonitor = Object.values(monitorEvents).flatMap((events) => Object.values(events));
    const ofRecovery = Object.keys(eventTypes).filter((type) => type.startsWith("RECOVERY."));
    expect(new Set(documented)).toEqual(new Set([...ofMonitor, ...ofRecovery]));
  });

  test("has configurations that are ones", () => {
    const examples = blocksOf("docs/monitor.md").filter(({ language }) => language === "json");
    expect(examples.length).toBeGreaterThan(1);
    for (const { text } of examples) expect(() => parseConfig(JSON.parse(text), "the example")).not.toThrow();
  });

  test("has rules of Prometheus for metrics that there are", () => {
    const rules = blocksOf("docs/monitor.md").find(({ language }) => language === "yaml")?.text ?? "";
    const named = [...rules.matchAll(/vmmessage_\w+/g)].map(([name]) => name);
    const metrics = tableOf("docs/manager.md", "Metrics and health").map(([name]) => name);
    expect(named.length).toBeGreaterThan(2);
    expect(metrics).toEqual(expect.arrayContaining(named));
  });
});

describe("docs/bootstrap.md", () => {
  const document = "docs/bootstrap.md";
  const rowsOfConfig = tableOf(document, "Members of bootstrap.json");
  const rowsOfTemplate = tableOf(document, "Members of a template");

  test("has every member of bootstrap.json with its default, and no other", () => {
    const config = parseBootstrapConfig({}, "nothing");
    expect(rowsOfConfig.map(([member]) => member)).toEqual(Object.keys(config));
    for (const [member = "", byDefault = ""] of rowsOfConfig) {
      expect(parseBootstrapConfig({ [member]: JSON.parse(byDefault) as unknown }, member), member).toEqual(config);
    }
  });

  test("has configurations that are ones", () => {
    const examples = blocksOf(document).filter(({ title }) => title?.endsWith("bootstrap.json"));
    expect(examples.length).toBeGreaterThan(0);
    for (const { text } of examples) expect(() => parseBootstrapConfig(JSON.parse(text), "it")).not.toThrow();
  });

  test("has templates that are ones", async () => {
    const examples = blocksOf(document).filter(({ language, title }) => language === "yaml" && title?.startsWith("/"));
    expect(examples.length).toBeGreaterThan(1);
    for (const { title = "", text } of examples) await expect(loadTemplate(title, text)).resolves.toBeDefined();
  });

  test("has every member of a template, and no other", () => {
    expect(rowsOfTemplate.map(([member]) => member).sort()).toEqual(membersOfTemplates().sort());
  });

  test("has the defaults of a template's members that its table says", () => {
    for (const [member = "", byDefault = ""] of rowsOfTemplate.filter(([, text]) => text !== "")) {
      const path = member.replace("*", "example");
      if (byDefault === "required") {
        expect(() => parseTemplate(withMember(leastTemplate, path, null)), member).toThrow();
      } else {
        const whole = withMember(leastTemplate, path, JSON.parse(byDefault) as unknown);
        expect(parseTemplate(whole), member).toEqual(parseTemplate(leastTemplate));
      }
    }
  });

  test("has every target", () => {
    expect(tableOf(document, "Targets").map(([target]) => target)).toEqual(targets);
  });

  test("has the modules that come with the agent, their places and keys", async () => {
    const documented = tableOf(document, "The modules that come with the agent").map((row) => row.slice(0, 4));
    const rows = builtinModules().map(async (module) => {
      const [parameter] = await module.parameters("configure", new AbortController().signal);
      const { key, aliases = [] } = parameter ?? {};
      return [module.name, String(module.orders.get("configure")), key, aliases.join(", ")];
    });
    expect(documented).toEqual(await Promise.all(rows));
    const users = blocksOf(document).find(({ title }) => title === "users")?.text ?? "";
    expect(parseWantedUsers(users)).toHaveLength(2);
  });

  test("has the units that are shipped, and what the example of an application's says", () => {
    const folder = join(root, "packaging", "systemd");
    const shipped = readdirSync(folder).filter((name) => name.startsWith("vmmessage-"));
    expect(
      tableOf(document, "With systemd")
        .map(([unit]) => unit)
        .sort(),
    ).toEqual(shipped.sort());
    const example = readFileSync(join(folder, "examples", "webapp.service.d", "vmmessage.conf"), "utf8").split("\n");
    const shown =
      blocksOf(document)
        .find(({ language }) => language === "ini")
        ?.text.split("\n") ?? [];
    expect(example).toEqual(expect.arrayContaining(shown.filter((line) => !line.startsWith("#"))));
  });

  test("has the limits of the code", () => {
    const limits = Object.fromEntries(tableOf(document, "Limits").map(([what = "", limit]) => [what, limit]));
    expect(limits).toMatchObject({
      modules: `${MAX_MODULES}, with those that come with the agent`,
      "all modules of a run together": `${RUN_LIMIT_MS / 3_600_000} hour`,
      "runs for a commit that are cut short": String(MAX_ATTEMPTS),
      "a module's time": `${DEFAULT_MODULE_TIMEOUT_MS / 60_000} minutes unless it says otherwise, a day at most for an executable`,
      "what is reported of a failure": `the last ${MAX_REPORTED_LINES} lines, ${MAX_LINE_LENGTH} characters of each`,
      "a module's results": `${MAX_RESULTS_LENGTH.toLocaleString("en")} characters of JSON; larger ones are handed on and not reported`,
    });
  });

  test("has every event of a run with its data", () => {
    const rows = tableOf(document, "What the host sees");
    const types = Object.keys(eventTypes).filter((type) => type.startsWith("BOOTSTRAP."));
    expect(rows.map(([type]) => type)).toEqual(types);
    const { "bootstrap.started": started, "bootstrap.module": module, "bootstrap.ended": ended } = bootstrapMessages;
    const head = Object.keys(started.shape).filter((member) => member in module.shape && member in ended.shape);
    const [header = ""] = /^\| event .*$/m.exec(textOf(document)) ?? [];
    expect(head.filter((member) => !header.includes(`\`${member}\``))).toEqual([]);
    for (const [index, message] of [started, module, ended].entries()) {
      const said = (rows[index]?.[1] ?? "") + (message === ended ? (rows[index + 1]?.[1] ?? "") : "");
      const members = Object.keys(message.shape).filter((member) => !head.includes(member));
      expect(members.filter((member) => !said.includes(`\`${member}\``))).toEqual([]);
    }
  });
});

/** With no more than it needs. */
const leastTemplate = { parameters: { example: { key: "com.example" } }, files: [{ path: "/etc/example" }] };

function parseTemplate(template: object): TemplateFile {
  return new TemplateText("example.yaml", JSON.stringify(template)).parse();
}

/** As it names them itself where there is one that it does not know. */
function membersOfTemplates(): string[] {
  const known = (path: string): string[] => {
    try {
      parseTemplate(withMember(leastTemplate, path, 1));
      return [];
    } catch (error) {
      return /\(known: (.*)\)/.exec((error as Error).message)?.[1]?.split(", ") ?? [];
    }
  };
  const parts = ["parameters.*", "files[]", "units"];
  const inner = parts.flatMap((part) =>
    known(`${part.replace("*", "example")}.unknown`).map((member) => `${part}.${member}`),
  );
  return [...known("unknown").filter((member) => !["parameters", "files", "units"].includes(member)), ...inner];
}

test("docs/guides/masakari.md has what Masakari is told of, and as what, unless configured otherwise", () => {
  const [sink] = parseConfig({ events: { sinks: exampleSinks.slice(-1) } }, "the example").events.sinks;
  if (sink?.type !== "masakari") throw new Error("the last example is no sink to Masakari");
  const documented = tableOf("docs/guides/masakari.md", "Telling Masakari").map(([, ...told]) => told);
  expect(documented).toEqual(Object.entries(sink.events).map(([type, event]) => [type, event, masakariEvents[event]]));
  expect(textOf("docs/guides/masakari.md")).toMatch(
    new RegExp(`\\b${sink.retryMax} times \\(\`retryMax\`\\), ${sink.retryInterval / 1_000}\\s+seconds apart`),
  );
});

const stateTypes: Record<NonNullable<Meaning["status"]>, string> = {
  Running: "VM.RUNNING",
  Paused: "VM.PAUSED",
  Suspended: "VM.SUSPENDED",
  Stopped: "VM.STOPPED",
  Crashed: "VM.CRASHED",
  Begun: "VM.PAUSED",
};

/** In the order in which they are told. */
function eventsOf({ alert, action, isReset, status }: Meaning): string[] {
  const state = status === undefined ? undefined : stateTypes[status];
  return [alert, action, isReset && "VM.RESET", state].filter((type) => type !== undefined);
}

test("docs/vmmessage.md has every exit code", () => {
  const documented = tableOf("docs/vmmessage.md", "Exit codes").slice(1);
  const codes = Object.entries(exitCodes).map(([name, code]) => [
    String(code),
    name,
    exitCodeMeanings[name as ErrorCode],
  ]);
  expect(documented).toEqual(codes);
});
