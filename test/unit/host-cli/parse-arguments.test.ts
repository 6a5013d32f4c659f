import { describe, expect, it } from "vitest";
import type { Command } from "../../../host-cli/command.ts";
import { isCheck, parseArguments, type Surroundings } from "../../../host-cli/parse-arguments.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { messageId } from "../../../shared/protocol/message.ts";
import { version } from "../../../shared/version.ts";

const HERE: Surroundings = { hostname: "node7", environment: {} };

const EPOCH = "0123456789abcdef";

const ID = "0123456789abcdef0123456789abcdef";

/** `vmmessage WORDS`, cut at the spaces. */
function parse(words: string, surroundings = HERE): Command {
  const parsed = parseArguments(words === "" ? [] : words.split(" "), surroundings);
  if (parsed.type === "text") throw new Error(`printed: ${parsed.text}`);
  return parsed.command;
}

function text(words: string): string {
  const parsed = parseArguments(words.split(" "), HERE);
  return parsed.type === "text" ? parsed.text : "";
}

/** How a command line is refused: `CODE: SENTENCE`. */
function refusal(words: string): string {
  try {
    parse(words);
  } catch (error) {
    if (error instanceof CommandError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "not refused";
}

const argument = (key: string, value: string) => ({ from: "argument", key, value });

describe("a command line means", () => {
  const meanings: [words: string, command: object][] = [
    ["-v web1 -k foo -V bar", { name: "set", values: [argument("foo", "bar")], style: "transcript" }],
    ["-v web1 -k a -V 1 -k b -V 2", { name: "set", values: [argument("a", "1"), argument("b", "2")] }],
    ["-v web1 -k a -V -k", { name: "set", values: [argument("a", "-k")] }],
    ["-v web1 -k a -V --json", { name: "set", values: [argument("a", "--json")], style: "transcript" }],
    ["-v web1 set a=1 b==", { name: "set", values: [argument("a", "1"), argument("b", "=")] }],
    ["set a=1 -v web1", { name: "set", values: [argument("a", "1")] }],
    ["-v web1 --value-file a=/x=y", { name: "set", values: [{ from: "file", key: "a", path: "/x=y" }] }],
    [
      "-v web1 --value-stdin a -k b -V 1",
      { name: "set", values: [{ from: "stdin", key: "a" }, argument("b", "1")], waitAck: false },
    ],
    [
      "-v web1 -k a -V 1 --ttl 10m --secret --read-only --wait-ack",
      { attributes: { ttlMs: 600_000, secret: true, readOnly: true }, condition: {}, waitAck: true },
    ],
    ["-v web1 -k a -V 1", { messageId: undefined }],
    [`-v web1 -k a -V 1 --message-id ${ID}`, { name: "set", messageId: ID }],
    [`--message-id ${ID} delete a -v web1`, { name: "delete", messageId: ID }],
    ["clear -v web1 --direct --message-id job-1", { name: "clear", messageId: "job-1" }],
    [`-v web* set a=1 --message-id ${ID}`, { name: "fleet", request: { name: "set", messageId: ID } }],
    ["-v web1 -k a -V 1 --if-absent", { condition: { ifAbsent: true }, attributes: {} }],
    ["-v web1 -k a -V 1 --if-revision 7", { condition: { ifRevision: 7 } }],
    [`-v web1 -k a -V 1 --if-revision ${EPOCH}:7`, { condition: { ifRevision: 7, ifEpoch: EPOCH } }],
    ["-v web1 -q foo", { name: "get", key: "foo" }],
    ["get foo -v web1", { name: "get", key: "foo" }],
    ["delete a b -v web1 --if-revision 3", { name: "delete", keys: ["a", "b"], condition: { ifRevision: 3 } }],
    ["clear -v web1", { name: "clear" }],
    ["list -v web1", { name: "list", prefix: "" }],
    ["list com.example. -v web1", { name: "list", prefix: "com.example." }],
    ["watch -v web1", { name: "watch", prefix: "", since: undefined }],
    ["watch a. --since 12 -v web1", { name: "watch", prefix: "a.", since: { revision: 12, epoch: undefined } }],
    [`watch --since ${EPOCH}:12 -v web1`, { since: { revision: 12, epoch: EPOCH } }],
    ["wait a -v web1 --timeout 1.5", { name: "wait", key: "a", timeoutMs: 1_500 }],
    ["info -v web1 --json", { name: "info", style: "json", timeoutMs: undefined }],
    ["ping -v web1 --quiet", { name: "ping", style: "quiet" }],
    ["doctor --socket /run/web1.sock", { name: "doctor", target: { socket: "/run/web1.sock" } }],
    ["-v web1 -k a -V 1 --expires 1h --log", { sending: { expiresInMs: 3_600_000, log: true } }],
    ["clear -v web1", { sending: { expiresInMs: undefined, log: false } }],
    [
      "-v web* -q a",
      { name: "fleet", vms: { all: false, names: ["web*"], file: undefined }, request: { name: "get" } },
    ],
    ["-v web? -k a -V 1", { name: "fleet", request: { name: "set", values: [argument("a", "1")] } }],
    ["-v web[1] -q a", { name: "get", target: { vm: "web[1]" } }],
    ["-v a -v b ping", { name: "fleet", vms: { names: ["a", "b"] }, request: { name: "ping" } }],
    ["clear --all", { name: "fleet", vms: { all: true }, request: { name: "clear" } }],
    ["--vms-from - delete a b", { name: "fleet", vms: { names: [], file: "-" }, request: { keys: ["a", "b"] } }],
    ["vms", { name: "vms", pattern: undefined, everywhere: false }],
    ["vms --everywhere web*", { name: "vms", pattern: "web*", everywhere: true }],
    ["vms web* --json", { name: "vms", pattern: "web*", style: "json" }],
    ["messages -v web1", { name: "messages", vm: "web1", direction: "sent", limit: undefined }],
    ["messages --received -v web1 --limit 5", { direction: "received", limit: 5 }],
    ["receipt m1 --wait-ack", { name: "receipt", messageId: "m1", waitAck: true }],
    ["user list", { name: "user", action: { type: "list" } }],
    [
      "user add alice --role write --vms a --vms b* --keys k. --public-key f --new-password - -u admin",
      {
        login: { user: "admin" },
        action: {
          type: "add",
          user: "alice",
          properties: { role: "write", vms: ["a", "b*"], keys: ["k."], publicKeyFiles: ["f"], readsPassword: true },
        },
      },
    ],
    ["user change alice --vms a", { action: { type: "change", properties: { role: undefined, vms: ["a"] } } }],
    ["user remove alice", { action: { type: "remove", user: "alice" } }],
    [
      "token create bot --label x --lifetime 90d",
      { action: { type: "create", user: "bot", expiresInMs: 7_776_000_000 } },
    ],
    ["token revoke 7", { name: "token", action: { type: "revoke", id: "7" } }],
    ["audit -v web1 --who alice --before 9", { name: "audit", vm: "web1", who: "alice", before: 9 }],
    ["health", { name: "health" }],
  ];

  const events: [words: string, command: object][] = [
    ["events", { name: "events", filter: {}, since: undefined, values: false, follow: false, limit: undefined }],
    [
      "events -v web* -v db1 --type VM.* --type KEY.SET --category AlertEvent --prefix a. -f --values --limit 5 --json",
      {
        filter: { vms: ["web*", "db1"], types: ["VM.*", "KEY.SET"], categories: ["AlertEvent"], keys: ["a."] },
        follow: true,
        values: true,
        limit: 5,
        style: "json",
      },
    ],
    [`events --since ${EPOCH}:7 --follow`, { since: `${EPOCH}:7`, follow: true }],
    ["events --types", { name: "event types" }],
    ["notify list -v web1", { name: "notify", vm: "web1", action: { type: "list" } }],
    [
      "notify add -v web1 --notify h,v,u,p,q --notify-file f --vm-id 22",
      { action: { type: "add", coordinates: { given: ["h,v,u,p,q"], file: "f" }, vmId: "22" } },
    ],
    ["notify remove -v web1 n1", { action: { type: "remove", id: "n1" } }],
    ["sinks", { name: "sink", action: { type: "list" } }],
    ["sink show config:main", { name: "sink", action: { type: "show", sink: "config:main" } }],
    ["sink test s1.1", { action: { type: "test", sink: "s1.1" } }],
    ["sink enable s1.1", { action: { type: "enable" } }],
    ["sink deliveries s1.1 --limit 5", { action: { type: "deliveries", limit: 5 } }],
    ["sink dead-letters s1.1", { action: { type: "dead-letters", limit: undefined } }],
    ["sink redeliver s1.1", { action: { type: "redeliver", events: [] } }],
    ["sink redeliver s1.1 a b", { action: { type: "redeliver", sink: "s1.1", events: ["a", "b"] } }],
    ["subscription list", { name: "subscription", action: { type: "list" } }],
    ["subscription show s1", { action: { type: "show", id: "s1" } }],
    [
      "subscription add dns --endpoint https://a --endpoint mailto:b@c -v web* --type VM.* --new-secret --secret-file f",
      {
        action: {
          type: "add",
          subscription: "dns",
          properties: {
            endpoints: { given: ["https://a", "mailto:b@c"], file: undefined },
            filter: { vms: ["web*"], types: ["VM.*"] },
            values: undefined,
            makesSecret: true,
            secretFiles: ["f"],
          },
        },
      },
    ],
    [
      "subscription change s1 --no-values --no-contact --everything --unsigned --format cloudstack --name x",
      {
        action: {
          type: "change",
          id: "s1",
          changes: {
            endpoints: undefined,
            filter: {},
            values: false,
            contact: false,
            dropsFilter: true,
            dropsSecrets: true,
            format: "cloudstack",
            name: "x",
          },
        },
      },
    ],
    ["subscription change s1 -v db*", { action: { changes: { filter: { vms: ["db*"] }, contact: undefined } } }],
    ["subscription remove s1", { action: { type: "remove", id: "s1" } }],
    [
      "save -v web1 --to /srv/images --author-email a@b --format raw --disk vdb --wait",
      {
        name: "save",
        action: { vm: "web1", directory: "/srv/images", authorEmail: "a@b", format: "raw", disk: "vdb", waits: true },
      },
    ],
    ["save --to /d -v web1", { action: { type: "save", format: undefined, disk: undefined, waits: false } }],
    ["save list", { name: "save", action: { type: "list", vm: undefined } }],
    ["save list -v web1", { action: { type: "list", vm: "web1" } }],
    ["save show i1", { action: { type: "show", id: "i1" } }],
    ["save cancel i1", { action: { type: "cancel", id: "i1" } }],
  ];

  const health: [words: string, command: object][] = [
    ["monitor", { name: "monitor", vm: undefined }],
    ["monitor -v web1 --json", { name: "monitor", vm: "web1", style: "json" }],
    ["monitor --table", { name: "monitor table", style: "transcript" }],
    [
      "check -v web1",
      {
        name: "check",
        request: { cpu: undefined, memory: undefined, disks: [], load: undefined, applications: false },
      },
    ],
    [
      "check -v web1 --cpu 90 --memory 80,90 --disk 80 --disk /var=70,85 --load 4,8 --applications --direct",
      {
        door: { via: "channel" },
        request: {
          cpu: { warning: undefined, critical: 90 },
          memory: { warning: 80, critical: 90 },
          disks: [
            { path: undefined, critical: 80 },
            { path: "/var", warning: 70, critical: 85 },
          ],
          load: { warning: 4, critical: 8 },
          applications: true,
        },
      },
    ],
    ["check --socket /run/web1.sock --timeout 1.5 --cpu 90", { name: "check", timeoutMs: 1_500 }],
  ];

  it.each([...meanings, ...events, ...health])("%s", (words, expected) => {
    expect(parse(words)).toMatchObject(expected);
  });
});

describe("the VM is looked for", () => {
  const surroundings = { ...HERE, environment: { VMMESSAGE_SOCKET_DIR: "/from/environment" } };

  it.each<[words: string, target: object]>([
    ["", { vm: "web1", socketDirectory: "/from/environment" }],
    ["--socket-dir /given", { socketDirectory: "/given" }],
    ["--connect qemu:///session", { socketDirectory: undefined, libvirtUri: "qemu:///session" }],
    ["--socket /a.sock", { socket: "/a.sock" }],
  ])("'%s'", (words, target) => {
    expect(parse(`ping -v web1 ${words}`.trim(), surroundings).target).toMatchObject(target);
  });

  it("in libvirt where the environment names an empty directory", () => {
    expect(
      parse("ping -v web1", { ...HERE, environment: { VMMESSAGE_SOCKET_DIR: "" } }).target.socketDirectory,
    ).toBeUndefined();
  });
});

describe("the way is", () => {
  const environment = { VMMESSAGE_MANAGER: "/env.sock", VMMESSAGE_HOST: "manager.example" };
  const local = { via: "local", socket: undefined };

  it.each<[words: string, environment: Record<string, string>, door: object]>([
    ["", {}, local],
    ["-h localhost", environment, { via: "local", socket: "/env.sock" }],
    ["-h NODE7", {}, local],
    ["-h 127.0.0.1", {}, local],
    ["-h ::1", {}, local],
    ["", environment, { via: "network", host: "manager.example", port: undefined }],
    ["", { VMMESSAGE_HOST: "", VMMESSAGE_MANAGER: "" }, local],
    ["-h other:8443", {}, { via: "network", host: "other", port: 8443 }],
    ["-h localhost:7443", {}, { via: "network", host: "localhost", port: 7443 }],
    ["-h [2001:db8::1]:8443", {}, { via: "network", host: "2001:db8::1", port: 8443 }],
    ["-h 2001:db8::1", {}, { via: "network", host: "2001:db8::1", port: undefined }],
    ["--manager /m.sock", environment, { via: "local", socket: "/m.sock" }],
    ["--direct", environment, { via: "channel" }],
    ["--socket /a.sock", environment, { via: "channel" }],
    ["--socket-dir /a", environment, { via: "channel" }],
    ["--connect qemu:///session", environment, { via: "channel" }],
    ["--socket /a.sock -h localhost", environment, { via: "channel" }],
  ])("'%s' with %o", (words, given, door) => {
    expect(parse(`ping -v web1 ${words}`.trim(), { ...HERE, environment: given }).door).toEqual(door);
  });

  it("trusted by a fingerprint, however it is written", () => {
    const digits = "ab".repeat(32);
    for (const written of [digits, digits.toUpperCase(), digits.replace(/..(?=.)/g, "$&:"), `SHA256:${digits}`]) {
      expect(parse(`ping -v web1 --fingerprint ${written}`).login.fingerprint).toBe(digits);
    }
  });
});

describe("refused with a sentence that helps", () => {
  const refusals: [words: string, sentence: string][] = [
    ["", "nothing to do: set with -k KEY -V VALUE, query with -q KEY, or see vmmessage --help"],
    ["-v web1", "nothing to do"],
    ["-q foo", "which VM? name it with -v VM, or its socket with --socket PATH"],
    ["-v web1 -k a", "the key 'a' has no value; a -V VALUE follows its -k"],
    ["-v web1 -k a -k b -V 1", "the key 'a' has no value"],
    ["-v web1 -V hunter2", "a -V VALUE has no -k KEY before it"],
    ["-v web1 -k a -V 1 -V 2", "a -V VALUE has no -k KEY before it"],
    ["-v web1 -k a -V 1 -k a -V 2", "the key 'a' stands twice in one change"],
    ["-v web1 -k a=b -V 1", "'a=b': a key cannot contain '='"],
    ["-v web1 -k a -V 1 -q b", "-q asks and -k sets; give one of them"],
    ["-v web1 -q a -q b", "it is a second key to query; give one"],
    ["-v web1 list -k a -V 1", "-k stands alone, without 'list'"],
    ["-v web1 list -q a", "-q stands alone, without 'list'"],
    ["-v web1 lost", "there is no command 'lost'; see vmmessage --help"],
    ["-v web1 --timeuot 5 list", "unknown option '--timeuot' (Did you mean --timeout?); see vmmessage --help"],
    ["-v web1 clear all", "too many arguments"],
    ["-v web1 delete", "missing required argument 'key'"],
    ["-v web1 delete a a", "the key 'a' stands twice in one change"],
    ["-v web1 set a", "'a' is not KEY=VALUE"],
    ["-v web1 --value-file a", "it is not KEY=PATH"],
    ["-v web1 --value-stdin a --value-stdin b", "there is only one standard input"],
    ["-v web1 list --ttl 5", "--ttl goes with set, not with list"],
    ["-v web1 list --if-revision 5", "--if-revision goes with set and delete, not with list"],
    ["-v web1 -q a --since 5", "--since goes with watch and events, not with get"],
    ["-v web1 -q a --message-id m1", "--message-id goes with set, delete and clear, not with get"],
    ["-v web1 clear --message-id", "argument missing"],
    ["-v web1 clear --message-id ", "it is not a message's id: 1 to 64 of A-Z a-z 0-9 . _ : -"],
    ["-v web1 list --json --quiet", "--json and --quiet are two kinds of answer; give one of them"],
    ["-v web1 list --timeout 5x", "it is not a duration like 90, 10m, 2h or 7d"],
    ["-v web1 list --timeout 0", "it is not a duration"],
    ["-v web1 list --timeout 30d", "it is longer than 24 days"],
    ["-v web1 watch --since soon", "it is not N or EPOCH:N, as list and watch show them"],
  ];

  const forTheManager: [words: string, sentence: string][] = [
    ["-v web* list", "list is for one VM; many can be asked with set, get, delete, clear and ping"],
    ["--all -v web1 -q a", "--all is all VMs; give it without -v and --vms-from"],
    ["--all list", "--all goes with set, get, delete, clear and ping, not with list"],
    ["-v web* -q a --socket /a", "many VMs at once need a manager"],
    ["-v web1 -q a --expires 1h", "--expires goes with set, delete and clear, not with get"],
    ["-v web1 -k a -V 1 --expires 1h --direct", "--expires needs a manager, and --direct asks none"],
    ["-v web1 -q a --socket /a --manager /m", "--socket asks no manager, and --manager names one"],
    ["-v web1 -q a --direct -h other", "--direct asks no manager, and -h other names one"],
    ["-v web1 -q a --manager /m -h other", "--manager names a socket of this host, and -h other another"],
    ["-v web1 -q a -h a:b:c/", "it is not HOST or HOST:PORT"],
    ["-v web1 -q a -h a:70000", "it is not HOST or HOST:PORT"],
    ["-v web1 -q a -u admin --token-file t", "--token-file stands in place of -u and -p"],
    ["-v web1 -q a --fingerprint abc", "it is not the SHA-256 of a certificate"],
    ["-v web1 --value-stdin a -p -", "there is only one standard input"],
    ["--vms-from - -q a -p -", "there is only one standard input"],
    ["vms --direct", "vms asks the manager; a VM's channel cannot tell"],
    ["messages", "which VM? name it with -v VM"],
    ["messages -v web1 --limit 0", "it is not from 1 to 1000"],
    ["user add alice", "what may the user do? --role read, write or admin"],
    ["user add alice --role root", "Allowed choices are read, write, admin"],
    ["user add alice --role read --new-password secret1", "others can see a command line"],
    ["user change alice", "user change: what?"],
    ["user lost", "there is no command 'user lost'; see vmmessage user --help"],
    ["user", "'user' needs a command; see vmmessage user --help"],
  ];

  const aboutEvents: [words: string, sentence: string][] = [
    ["events --direct", "events asks the manager; a VM's channel cannot tell"],
    ["events --all", "--all goes with set, get, delete, clear and ping, not with events"],
    ["events --category Alert", "Allowed choices are ActionEvent, AlertEvent"],
    ["events --since 7", "--since: it is not a cursor, LOG:POSITION"],
    ["events --since soon", "it is not N or EPOCH:N"],
    ["events --limit 1001", "it is not from 1 to 1000"],
    [`events --since ${EPOCH}:7 --follow --limit 5`, "--limit bounds nothing there"],
    ["events --types --follow", "--types stands alone"],
    ["events --types -v web1", "--types stands alone"],
    ["events web1", "too many arguments"],
    ["notify", "'notify' needs a command; see vmmessage notify --help"],
    ["notify add --notify-file f", "which VM? name it with -v VM"],
    ["notify add -v web1", "notify add: which queue? --notify-file FILE"],
    ["notify list -v web*", "notify list is for one VM"],
    ["notify add -v web1 --notify-file - -p - -u a", "there is only one standard input"],
    ["sink", "'sink' needs a command"],
    ["sink test", "missing required argument 'sink'"],
    ["sink test s1.1 s1.2", "too many arguments"],
    ["subscription add dns", "where do events go? --endpoint URL"],
    ["subscription add  --endpoint https://a", "its name is empty"],
    ["subscription change s1 --name ", "--name is empty"],
    ["subscription add --endpoint https://a", "missing required argument 'name'"],
    ["subscription add dns --endpoint a --format xml", "Allowed choices are cloudevents, cloudstack"],
    ["subscription add dns --endpoint a --new-secret --secret-file f --secret-file g", "at most two secrets"],
    ["subscription add dns --endpoint-file - --secret-file -", "there is only one standard input"],
    ["subscription change s1", "subscription change: what?"],
    ["subscription change s1 --unsigned --new-secret", "--unsigned is without secrets"],
    ["save -v web1", "save: where to? --to DIR"],
    ["save --to /d", "which VM? name it with -v VM"],
    ["save --to /d -v web*", "save is for one VM"],
    ["save list --to /d", "save list takes no options of its own"],
    ["save lost --to /d -v web1", "too many arguments"],
    ["save cancel", "missing required argument 'id'"],
  ];

  const aboutHealth: [words: string, sentence: string][] = [
    ["monitor --direct", "monitor asks the manager; a VM's channel cannot tell"],
    ["monitor -v web1 --table", "--table stands alone"],
    ["monitor web1", "too many arguments"],
    ["check", "which VM? name it with -v VM, or its socket with --socket PATH"],
    ["check -v web*", "check is for one VM; many can be asked with set, get, delete, clear and ping"],
    ["check --all", "--all goes with set, get, delete, clear and ping, not with check"],
    ["check -v web1 --cpu 90%", "it is not CRITICAL or WARNING,CRITICAL, as 90 or 80,90"],
    ["check -v web1 --memory 90,80", "the warning, 90, is over the critical 80"],
    ["check -v web1 --disk 80 --disk 90", "every disk has thresholds already"],
    ["check -v web1 --cpu 90 --timeout 1", "--cpu is measured over 1 s; --timeout has to be longer"],
    ["list -v web1 --cpu 90", "unknown option '--cpu'"],
  ];

  it.each([...refusals, ...forTheManager, ...aboutEvents, ...aboutHealth])("%s", (words, sentence) => {
    expect(refusal(words)).toMatch(/^usage: /);
    expect(refusal(words)).toContain(sentence);
  });

  it("never shows a value", () => {
    expect(refusal("-v web1 -V hunter2")).not.toContain("hunter2");
    const newPassword = "user add alice --role read --new-password";
    expect(refusal(`${newPassword} -`)).toBe("not refused");
    expect(refusal(`${newPassword} hunter2`)).not.toContain("hunter2");
  });

  it("an empty name of a VM", () => {
    expect(() => parseArguments(["ping", "-v", ""], HERE)).toThrow("cannot be empty");
  });
});

describe("the id of a message", () => {
  const ids = ["m", "Job.7_a:b-c", "-", "x".repeat(64), "x".repeat(65), "a b", "a/b", "ü", "a\n", ""];

  it.each(ids)("'%s' is one where the protocol has it as one", (id) => {
    const parsing = () => parseArguments(["clear", "-v", "web1", "--message-id", id], HERE);
    if (messageId.safeParse(id).success) expect(parsing()).toMatchObject({ command: { messageId: id } });
    else expect(parsing).toThrow("it is not a message's id");
  });
});

describe("a check is told from other commands, also where it is refused", () => {
  it.each([
    ["check", true],
    ["check -v web1 --cpu lots", true],
    ["-v web1 --json --timeout x check", true],
    ["--vm=web1 check --lost", true],
    ["-v check ping", false],
    ["-k check -V check", false],
    ["-q check -v web1", false],
    ["get check -v web1", false],
    ["", false],
  ])("%s: %s", (words, expected) => {
    expect(isCheck(words.split(" "))).toBe(expected);
  });
});

it("--version prints the version", () => {
  expect(text("--version")).toBe(`vmmessage ${version}\n`);
});

it.each(["sink show", "save list"])("%s --help has examples of its own", (words) => {
  expect(text(`${words} --help`)).toContain(`Examples:\n  vmmessage ${words}`);
});

it("--help has examples and the table of exit codes", () => {
  const help = text("--help");
  expect(help).toContain("vmmessage -v web1 -k com.example.role -V frontend");
  expect(help).toMatch(/10 {2}unreachable +the other side cannot be reached; try again/);
});

it("every command about events has examples", () => {
  const groups = ["events", "notify", "subscription", "sinks", "sink", "save"];
  for (const words of [...groups, "notify add", "subscription add", "subscription change", "sink redeliver"]) {
    expect(text(`${words} --help`), words).toMatch(/\nExamples:\n  vmmessage /);
  }
});

it("the commands about health are in the lists of commands, and have examples", () => {
  const help = text("--help");
  expect(help).toMatch(/\nCommands:\n[^]*\n {2}check .*Nagios[^]*\nCommands of the manager:\n[^]*\n {2}monitor /);
  for (const words of ["check", "monitor"])
    expect(text(`${words} --help`)).toContain(`Examples:\n  vmmessage ${words}`);
  expect(text("check --help")).toContain("  3  UNKNOWN");
  expect(text("check --help")).toMatch(/not\s+divided by processors/);
});

it("a command's own help names its words", () => {
  expect(text("list --help")).toContain("vmmessage list");
  expect(text("user add --help")).toContain("vmmessage user add [options] <name>");
  expect(text("user --help")).toContain("vmmessage user change alice --public-key");
  expect(text("save --help")).toContain("vmmessage save cancel 0123456789abcdef");
});
