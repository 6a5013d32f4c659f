/** The whole of it as its users meet it: real agents, a real manager, the real command, curl, and ssh. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { AuditRecord, CreatedToken } from "../../../shared/api/schemas.ts";
import { version } from "../../../shared/version.ts";
import { AgentUnderTest } from "../support/agents.ts";
import { ManagerUnderTest } from "../support/managers.ts";
import { type Certificate, selfSigned } from "./cli/certificates.ts";
import { SshClient } from "./console/ssh.ts";

const vmmessage = join(import.meta.dirname, "..", "..", "..", "dist", "vmmessage.js");
const password = "correct horse battery";

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

let directory: string;
let certificate: Certificate;
let agent: AgentUnderTest;
let manager: ManagerUnderTest;
let apiPort: number;
let ssh: SshClient;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-whole-"));
  certificate = await selfSigned(directory, "localhost", "DNS:localhost,IP:127.0.0.1");
  agent = await AgentUnderTest.start();
  manager = await ManagerUnderTest.start(
    [
      { name: "ol6u3apitest", socket: agent.channelPath },
      { name: "twin", socket: join(directory, "twin-1"), uuid: "172dd6f8-0000-4000-8000-00000000000a" },
      { name: "twin", socket: join(directory, "twin-2"), uuid: "172dd6f8-0000-4000-8000-00000000000b" },
      { name: "off", socket: join(directory, "off") },
    ],
    {
      listen: [
        { address: "127.0.0.1", port: 0, certificate: certificate.certPath, key: join(directory, "localhost.key") },
      ],
      console: { port: 0 },
    },
  );
  await manager.untilLink("ol6u3apitest", "up");
  const users = {
    admin: { role: "admin" },
    reader: { role: "read" },
    keeper: { role: "write", vms: ["ol6*"], keys: ["com.example."] },
  };
  for (const [name, rights] of Object.entries(users)) {
    expect((await manager.call("PUT", `/v1/users/${name}`, { ...rights, password })).status).toBe(200);
  }
  const doors = (await manager.logged("door-opened")).map(({ door }) => String(door));
  apiPort = Number(/^https:.*:(\d+)$/.exec(doors.find((door) => door.startsWith("https:")) ?? "")?.[1]);
  const [console] = await manager.logged("console.listening");
  ssh = new SshClient(directory, Number(console?.["port"]));
});

afterAll(async () => {
  await manager[Symbol.asyncDispose]();
  await agent[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

function run(args: string[], env: Record<string, string> = {}): Promise<Outcome> {
  const own = { HOME: directory, VMMESSAGE_MANAGER: manager.socketPath, ...env };
  return new Promise((resolve) => {
    execFile(process.execPath, [vmmessage, ...args], { env: { ...process.env, ...own } }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

/** Over TLS, as `user`. */
function remotely(user: string, args: string[], env: Record<string, string> = {}): Promise<Outcome> {
  const remote = ["-u", user, "-h", `127.0.0.1:${apiPort}`, "--ca", certificate.certPath, ...args];
  return run(remote, { VMMESSAGE_PASSWORD: password, ...env });
}

async function curl(...args: string[]): Promise<{ status: number; body: string }> {
  const out = await new Promise<string>((resolve) => {
    execFile("curl", ["-s", "-w", "\n%{http_code}", ...args], (_error, stdout) => {
      resolve(stdout);
    });
  });
  const [, body = "", status = ""] = /^([^]*)\n(\d+)$/.exec(out) ?? [];
  return { status: Number(status), body };
}

function curlApi(path: string, ...args: string[]) {
  return curl("--cacert", certificate.certPath, ...args, `https://127.0.0.1:${apiPort}${path}`);
}

const sent = [
  `vmmessage ${version}.`,
  "Connected.",
  "VM : 'ol6u3apitest' has status :  Running.",
  "Sending message.",
  "Message sent successfully.",
  "",
].join("\n");

describe("ovm_vmmessage's transcript", () => {
  const message = ["-v", "ol6u3apitest", "-k", "foo", "-V", "bar"];

  test("reads the same through the manager of this host, its credentials checked", async () => {
    const outcome = await run(["-u", "admin", "-p", password, "-h", "localhost", ...message]);
    expect(outcome).toMatchObject({ code: 0, stdout: sent });
    expect(outcome.stderr).toMatch(/password.*command line/);
    expect(await agent.list()).toContain('{"foo":"bar"}');
  });

  test("reads the same from another machine", async () => {
    expect(await remotely("admin", message)).toEqual({ code: 0, stdout: sent, stderr: "" });
  });

  test("of a query tells the value and its age", async () => {
    await agent.run("-p", "newkey=newvalue");
    const outcome = await vi.waitFor(async () => {
      const answer = await remotely("reader", ["-v", "ol6u3apitest", "-q", "newkey"]);
      expect(answer.code).toBe(0);
      return answer;
    });
    expect(outcome.stdout.replace(/\d+ seconds?/, "N seconds")).toBe(
      [
        `vmmessage ${version}.`,
        "Connected.",
        "VM : 'ol6u3apitest' has status :  Running.",
        "Querying for key 'newkey'.",
        "Query successful.",
        "Query for Key : 'newkey' returned value 'newvalue'.",
        "Key set N seconds ago.",
        "",
      ].join("\n"),
    );
  });

  test("is the same straight to the channel when there is no manager", async () => {
    await using other = await AgentUnderTest.start();
    const outcome = await run(["--socket", other.channelPath, ...message]);
    expect(outcome).toMatchObject({ code: 0, stdout: sent });
  });
});

describe("the OVM> console", () => {
  const four = (command: string) =>
    new RegExp(
      String.raw`^Command: ${command}\r?\nStatus: Success\r?\nTime: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \S+\r?\n`,
      "m",
    );

  test("sends a message and lists what was sent and received", async () => {
    const command = "sendVmMessage Vm name=ol6u3apitest key=foo message=console log=no";
    const { stdout } = await ssh.withPassword(password, "admin@127.0.0.1", command).finished;
    expect(stdout).toMatch(four(command));
    expect(await agent.list()).toContain('{"foo":"console"}');
    const list = await ssh.withPassword(password, "admin@127.0.0.1", "getVmReceivedMessages Vm name=ol6u3apitest")
      .finished;
    expect(list.stdout).toMatch(/newkey.*newvalue/);
  });

  test("refuses a reader who writes", async () => {
    const command = "sendVmMessage Vm name=ol6u3apitest key=foo message=x log=no";
    const { code, stdout } = await ssh.withPassword(password, "reader@127.0.0.1", command).finished;
    expect(code).toBe(6);
    expect(stdout).toMatch(/Status: Failure[^]*role 'read'/);
  });
});

describe("bad input gets a clear error", () => {
  test.each<[what: string, args: string[], env: Record<string, string>, code: number, says: RegExp]>([
    [
      "a wrong password",
      ["-v", "off", "-q", "k"],
      { VMMESSAGE_PASSWORD: "wrong" },
      6,
      /wrong user name, password or token/,
    ],
    ["an unknown VM", ["-v", "nowhere", "-q", "k"], {}, 2, /there is no VM 'nowhere'/],
    ["a name that two VMs have", ["-v", "twin", "-q", "k"], {}, 3, /00000000000a.*00000000000b/],
    ["a VM that was never heard", ["-v", "off", "-q", "k"], {}, 10, /'off' does not answer/],
  ])("for %s", async (_what, args, env, code, says) => {
    const outcome = await remotely("admin", args, env);
    expect(outcome.code).toBe(code);
    expect(outcome.stderr).toMatch(says);
  });

  test("for a key that only waits to be set, with the message that will set it", async () => {
    const { stdout } = await remotely("admin", ["-v", "off", "-k", "later", "-V", "1", "--json"]);
    const { messageId } = JSON.parse(stdout) as { messageId: string };
    const outcome = await remotely("admin", ["-v", "off", "-q", "later"]);
    expect(outcome.code).toBe(10);
    expect(outcome.stderr).toContain(`not delivered yet: set of 'later'`);
    expect(outcome.stderr).toContain(messageId);
  });

  test("for a role that may not write, keys and VMs that are not theirs", async () => {
    const write = (user: string, vm: string, key: string) => remotely(user, ["-v", vm, "-k", key, "-V", "x"]);
    expect((await write("reader", "ol6u3apitest", "foo")).stderr).toMatch(/role 'read', and this needs 'write'/);
    expect((await write("keeper", "ol6u3apitest", "foo")).stderr).toMatch(/keys that begin with 'com\.example\.'/);
    expect((await write("keeper", "off", "com.example.a")).stderr).toMatch(/there is no VM 'off'/);
    expect((await write("keeper", "ol6u3apitest", "com.example.a")).code).toBe(0);
    expect((await remotely("keeper", ["-v", "ol6u3apitest", "clear"])).code).not.toBe(0);
  });

  test("for a token that ended or was revoked", async () => {
    const token = async (more: object) => {
      return (await manager.post<CreatedToken>("/v1/tokens", { user: "reader", ...more })).body;
    };
    const show = (secret: string) => curlApi("/v1/vms/off", "-H", `Authorization: Bearer ${secret}`);
    const revoked = await token({});
    expect((await show(revoked.token)).status).toBe(200);
    await manager.call("DELETE", `/v1/tokens/${revoked.id}`);
    expect(await show(revoked.token)).toMatchObject({ status: 401 });
    const ended = await token({ expiresInMs: 1 });
    await vi.waitFor(async () => {
      expect((await show(ended.token)).status).toBe(401);
    });
  });

  test("for JSON that is none, a body that is too large, and plain HTTP to TLS", async () => {
    const json = ["-u", `admin:${password}`, "-H", "content-type: application/json"];
    const broken = await curlApi("/v1/vms/off/messages", ...json, "-d", "{");
    expect(broken).toMatchObject({ status: 400 });
    expect(JSON.parse(broken.body)).toMatchObject({ code: "usage" });
    const large = join(directory, "large.json");
    await writeFile(large, JSON.stringify({ method: "clear", padding: "x".repeat(3 * 1024 * 1024) }));
    expect(await curlApi("/v1/vms/off/messages", ...json, "-d", `@${large}`)).toMatchObject({ status: 413 });
    expect((await curl(`http://127.0.0.1:${apiPort}/health`)).status).not.toBe(200);
    expect((await manager.get("/health")).status).toBe(200);
  });

  test("for a fleet in which some cannot be reached, by its exit code", async () => {
    const outcome = await run(["ping", "--all", "--json"]);
    expect(outcome.code).toBe(7);
  });
});

describe("a VM that is in no inventory any more", () => {
  test("stays with what waits for it till it is forgotten; one that is still there cannot be", async () => {
    const gone = { name: "gone", socket: join(directory, "gone") };
    const listed = [gone, { name: "ol6u3apitest", socket: agent.channelPath }];
    await manager.list(listed);
    await vi.waitFor(() => manager.set("gone", "k", "v"), { timeout: 10_000 });
    expect(await run(["forget", "-v", "gone"])).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(/remove it there first/) as string,
    });
    await manager.list(listed.slice(1));
    await vi.waitFor(async () => {
      expect((await manager.vm("gone")).inventory).toBe("none");
    });
    expect((await manager.vm("gone")).pending).toBe(1);
    expect(await run(["forget", "-v", "gone"])).toEqual({ code: 0, stdout: "VM 'gone' forgotten.\n", stderr: "" });
    expect((await run(["-v", "gone", "-q", "k"])).code).toBe(2);
  });
});

describe("the audit log", () => {
  test("says who did what to which key, from where and how it went; values only when asked, secrets never", async () => {
    await remotely("admin", ["-v", "ol6u3apitest", "-k", "logged", "-V", "shown", "--log"]);
    await remotely("admin", ["-v", "ol6u3apitest", "-k", "unlogged", "-V", "not-shown"]);
    await remotely("admin", ["-v", "ol6u3apitest", "-k", "hidden", "-V", "s3cret", "--secret", "--log"]);
    await remotely("reader", ["-v", "ol6u3apitest", "-k", "denied", "-V", "x"]);
    const { records } = (await manager.get<{ records: AuditRecord[] }>("/v1/audit?limit=200")).body;
    const of = (key: string) => records.find(({ keys, action }) => action === "set" && keys.includes(key));
    expect(of("logged")).toMatchObject({
      who: "admin",
      via: "https:127.0.0.1",
      outcome: "ok",
      values: { logged: "shown" },
    });
    expect(of("unlogged")?.values).toBeUndefined();
    expect(of("denied")).toMatchObject({ who: "reader", outcome: "not-permitted" });
    expect(records.some(({ via }) => via === "ssh:127.0.0.1")).toBe(true);
    expect(JSON.stringify(records)).not.toContain("s3cret");
    expect(JSON.stringify(records)).not.toContain(password);
  });
});
